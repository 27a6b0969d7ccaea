"""test_summary.py EVENTS STATUS: what a bazel test run came to, in single test cases.

EVENTS is the run's --build_event_json_file, STATUS is bazel's exit code. A log with cmocka's lines
("[       OK ] name", "[  FAILED  ] name") counts line by line, whatever language printed them; any other
test counts as one. The last line is "N passed, N failed"; exits 1 unless all passed.
"""

import json
import re
import sys
import urllib.parse

OK = re.compile(r"^\[ +OK \] (\S+)", re.MULTILINE)
FAILED = re.compile(r"^\[ +FAILED +\] (?!\d+ test)(\S+)", re.MULTILINE)
SKIPPED = re.compile(r"^(?:\[ +SKIPPED +\] (?!\d+ test)|SKIPPED: )(.*)", re.MULTILINE)


def log_text(result):
    for output in result.get("testActionOutput", []):
        if output.get("name") == "test.log":
            path = urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
            try:
                with open(path, encoding="utf-8", errors="replace") as log:
                    return log.read()
            except OSError:
                return ""
    return ""


def read_events(path):
    """The last attempt of each (test, shard, run), and the tests that never ran."""
    results, not_run = {}, []
    with open(path, encoding="utf-8") as events:
        for line in events:
            event = json.loads(line)
            name = event.get("id", {})
            if "testResult" in event:
                key = name["testResult"]
                results[key["label"], key.get("shard"), key.get("run")] = event["testResult"]
            elif "testSummary" in event and event["testSummary"].get("overallStatus") == "NO_STATUS":
                not_run.append(name["testSummary"]["label"])
    return results, not_run


def count(result):
    """(passed, names of failed cases, skipped) of one test's log."""
    text = log_text(result)
    passed, failed = len(OK.findall(text)), sorted(set(FAILED.findall(text)))
    good = result.get("status") == "PASSED"
    if good and passed == 0:
        passed = 1
    if not good and not failed:
        failed = [result.get("status", "FAILED").lower()]
    return passed, failed, len(SKIPPED.findall(text))


def main(path, status):
    results, not_run = read_events(path)
    passed = failed = skipped = 0
    for (label, _, _), result in sorted(results.items(), key=lambda item: item[0][0]):
        good, bad, skips = count(result)
        passed, failed, skipped = passed + good, failed + len(bad), skipped + skips
        for name in bad:
            print(f"FAILED {label} {name}")
    for label in not_run:
        print(f"FAILED {label} did not build or run")
    failed += len(not_run)
    if status != 0 and failed == 0:
        print(f"FAILED: bazel ended with {status}, see above")
        failed = 1
    if skipped:
        print(f"{skipped} skipped (their input is not here)")
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
