"""The house's C rules: one place for flags, one test shape, every header compiled alone."""

COPTS = [
    "-std=c17",
    "-D_GNU_SOURCE",
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Werror",
    "-Wno-unknown-warning-option",  # clang: gcc's names of what follows
    "-Wno-format-truncation",  # texts in fixed buffers are cut on purpose
]

# Generated code is not ours to judge.
GENERATED_COPTS = ["-std=c17", "-D_GNU_SOURCE", "-w"]

def _headers_alone(name, srcs, hdrs, deps, testonly):
    private = [src for src in srcs if src.endswith(".h")]
    sources = []
    for hdr in hdrs + private:
        source = "%s.%s.alone.c" % (name, hdr.replace("/", "_"))
        native.genrule(
            name = source + ".gen",
            outs = [source],
            cmd = "printf '#include \"%s/%s\"\\nextern int header_alone;\\n' > $@" %
                  (native.package_name(), hdr),
            testonly = testonly,
        )
        sources.append(source)
    if sources:
        native.cc_library(
            name = name + ".headers_alone",
            srcs = sources + private,
            copts = COPTS,
            testonly = testonly,
            deps = deps + [":" + name],
        )

def c_library(name, srcs = [], hdrs = [], deps = [], copts = [], testonly = False, **kwargs):
    """A C library of the house; each of its headers, those for itself included, is also compiled alone."""
    native.cc_library(
        name = name,
        srcs = srcs,
        hdrs = hdrs,
        copts = COPTS + copts,
        testonly = testonly,
        deps = deps,
        **kwargs
    )
    _headers_alone(name, srcs, hdrs, deps, testonly)

def c_binary(name, srcs, deps = [], copts = [], **kwargs):
    native.cc_binary(name = name, srcs = srcs, copts = COPTS + copts, deps = deps, **kwargs)

def c_test(name, srcs, deps = [], copts = [], size = "small", **kwargs):
    """A cmocka test; //tests/lib:test gives assert_ok, assert_err, assert_bytes_equal."""
    native.cc_test(
        name = name,
        srcs = srcs,
        copts = COPTS + copts,
        size = size,
        deps = deps + ["//tests/lib:test"],
        **kwargs
    )

def c_fuzz(name, deps = [], places = 1, srcs = None, size = "small", **kwargs):
    """A fuzz target NAME.c with LLVMFuzzerTestOneInput, in tests/fuzz; its corpus is in corpus/NAME.

    NAME replays the corpus as an ordinary test under any compiler. NAME_canary_test has the replay find a bug planted
    at each of the target's `places` (tests/fuzz/fuzz.h). NAME_libfuzzer looks for new inputs, under `--config=fuzz`
    only (`./dev fuzz NAME`).
    """
    srcs = srcs or [name + ".c"]
    deps = deps + ["//tests/fuzz"]
    corpus = native.glob(["corpus/%s/*" % name])
    native.cc_test(
        name = name,
        size = size,
        srcs = srcs,
        copts = COPTS,
        args = ["tests/fuzz/corpus/" + name],
        data = corpus,
        deps = deps + ["//tests/fuzz:replay"],
        **kwargs
    )
    native.cc_binary(
        name = name + "_canary",
        testonly = True,
        srcs = srcs,
        copts = COPTS + ["-DFUZZ_CANARY"],
        deps = deps + ["//tests/fuzz:replay"],
        **kwargs
    )
    native.sh_test(
        name = name + "_canary_test",
        size = size,
        srcs = ["canary_test.sh"],
        args = ["$(location %s_canary)" % name, "tests/fuzz/corpus/" + name, str(places)],
        data = corpus + [name + "_canary"],
    )
    native.cc_binary(
        name = name + "_libfuzzer",
        testonly = True,
        srcs = srcs,
        copts = COPTS,
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["manual"],
        deps = deps,
    )
