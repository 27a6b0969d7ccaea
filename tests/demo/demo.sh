#!/bin/bash
# demo - three facilities share a patient's record exactly as far as the patient allows, and prove it.
#
# Run it with `./dev demo`, which builds what it needs and sets CHARTMESH_BIN and CHARTMESH_ROOT. Every step checks
# what it says; the first thing that is not so ends the demo with exit code 1 and the place.
set -euo pipefail

chartmesh=$CHARTMESH_BIN/client/chartmesh
chartmeshd=$CHARTMESH_BIN/node/chartmeshd
relay=$CHARTMESH_BIN/tests/lib/relay
make_patients=$CHARTMESH_BIN/tests/demo/make_patients
rules=$CHARTMESH_ROOT/client/import/rules/sensitivity.json

patience=20                              # seconds until something that must come counts as missing
places="hospital clinic laboratory"
declare -A domain=([hospital]=st-anna.example [clinic]=lindenhof.example [laboratory]=blauwasser.example)
declare -A title=([hospital]="St. Anna Hospital" [clinic]="Lindenhof Clinic" [laboratory]="Blauwasser Laboratory")
declare -A pid=()                        # what runs: nodes by place, relays, watches
class=urn:chartmesh:class
synthea=https://github.com/synthetichealth/synthea

usage() {
    cat <<'END'
./dev demo [--data DIR] [--keep DIR]

  --data DIR   patients from DIR (bundles.tar.xz, facilities.tsv, encounters.tsv, MANIFEST.tsv: Synthea's FHIR R4
               bundles) instead of eight made-up ones; their facilities are shared out among the three nodes
  --keep DIR   make DIR and leave everything there: data folders, configurations, `trust`, `evidence.cmevid`, and
               `verify.args`, the options with which `chartmesh audit verify` proves it
END
}

# ---- words -------------------------------------------------------------------------------------------------

bold='' plain=''
if [ -t 1 ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
steps=0

step() { steps=$((steps + 1)); printf '\n%s%d. %s%s\n' "$bold" "$steps" "$*" "$plain"; }
say() { printf '   %s\n' "$*"; }
fine() { printf '   ok: %s\n' "$*"; }
fail() {
    printf '\ndemo: step %d is not as it should be: %s\n' "$steps" "$*" >&2
    exit 1
}

# ---- the facilities' programs ------------------------------------------------------------------------------

# as PLACE COMMAND...: the facility's application. it PLACE COMMAND...: its administrator.
as() { "$chartmesh" "${@:2}" --profile "$work/$1/clients/app-emr/profile"; }
it() { "$chartmesh" "${@:2}" --profile "$work/$1/clients/admin-it/profile"; }

# The first value of that name in JSON as the command line writes it.
field() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" | head -n 1; }

milliseconds() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# until_so WHAT COMMAND...: waits for it; `took` is then how many milliseconds that was.
until_so() {
    local what=$1 start
    start=$(milliseconds)
    shift
    until "$@" >/dev/null 2>&1; do
        [ $(($(milliseconds) - start)) -lt $((patience * 1000)) ] || fail "$what: not within $patience seconds"
        sleep 0.02
    done
    took=$(($(milliseconds) - start))
}

ids() { as "$1" list "$2" 2>/dev/null | cut -c 1-32 | sort; }
shows() { as "$1" get "$2" "$3" --headers; }
hides() { ! shows "$@" 2>/dev/null; }
lists() { [ "$(ids "$1" "$2" | wc -l)" -eq "$3" ]; }
heads_are() { [ "$(as "$1" get "$2" "$3" --headers | grep -c '^ *version: ')" -eq "$4" ]; }
watched() { grep -q "$2" "$scratch/$1.watch"; }

must_show() { shows "$1" "$2" "$3" >/dev/null || fail "the $1 does not show document $3"; }
must_hide() {
    hides "$1" "$2" "$3" >/dev/null || fail "the $1 shows document $3, which it must not have"
    ! ids "$1" "$2" | grep -q "$3" || fail "the $1 lists document $3, which it must not have"
}

# put_at PLACE PATIENT FILE OPTIONS...: prints the document's id.
put_at() { as "$1" put "$2" "$3" --output json "${@:4}" | field document; }

start_node() {
    rm -f "$work/$1/ready"
    "$chartmeshd" --config "$work/$1/chartmeshd.conf" --ready-file "$work/$1/ready" \
        >/dev/null 2>>"$work/$1/log" &
    pid[$1]=$!
    until_so "the $1's node starts (its log: $work/$1/log)" test -s "$work/$1/ready"
}

# end NAME SIGNAL: ends what runs under that name and waits for it.
end() {
    kill "-$2" "${pid[$1]}" 2>/dev/null || true
    wait "${pid[$1]}" 2>/dev/null || true
    unset "pid[$1]"
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# start_relay NAME PORT: what dials the address in `relayed` reaches PORT, unless the line is cut.
start_relay() {
    "$relay" 127.0.0.1:0 "127.0.0.1:$2" >"$scratch/$1.relay" &
    pid[$1]=$!
    until_so "a relay starts" grep -q ready "$scratch/$1.relay"
    relayed=$(sed -n 's/^ready //p' "$scratch/$1.relay")
}

start_watch() {
    "$chartmesh" watch --output json --profile "$work/$1/clients/app-emr/profile" >"$scratch/$1.watch" 2>/dev/null &
    pid[watch-$1]=$!
    until_so "the $1 watches" grep -q STARTED "$scratch/$1.watch"
}

# Nothing is left running, whatever happened.
finish() {
    local status=$? name
    trap - EXIT
    for name in "${!pid[@]}"; do
        kill -TERM "${pid[$name]}" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    [ -z "$work" ] || rm -rf "$scratch"
    [ -z "$work" ] || [ -n "$keep" ] || rm -rf "$work"
    exit "$status"
}

# ---- patients ----------------------------------------------------------------------------------------------

# people.PLACE: name, file, identifier's system and value, one line for each chart there.
made_up_patients() {
    local place
    "$make_patients" "$scratch/patients"
    for place in $places; do
        awk -F '\t' -v OFS='\t' -v place="$place" -v folder="$scratch/patients" '
            $2 == place { print $1, folder "/" $3, "urn:example:person-number", $4 }' \
            "$scratch/patients/patients.tsv" >"$scratch/people.$place"
        : >"$scratch/organizations.$place"
    done
    main=mira-tolvanen
}

# The patient we follow has been at three facilities or more and has allergies. The facilities are dealt out to the
# three nodes in turn, that patient's first; a patient has a chart wherever one of theirs lies.
synthea_patients() {
    mkdir -p "$scratch/patients"
    "$make_patients" "$scratch/made-up"
    python3 -m tarfile -e "$data/bundles.tar.xz" "$scratch/patients" 2>/dev/null
    find "$scratch/patients" -name '*.json' | sort >"$scratch/bundles"
    main=$(xargs -d '\n' grep -l '"AllergyIntolerance"' <"$scratch/bundles" | sed 's|.*/||' | awk -F '\t' '
        NR == FNR { allergic[$1] = 1; next }
        $1 in allergic && $7 >= 3 { print $1; exit }' - "$data/MANIFEST.tsv")
    [ -n "$main" ] || fail "no patient in $data has been at three facilities and has allergies"
    awk -F '\t' -v OFS='\t' -v scratch="$scratch" -v system_name="$synthea" -v main="$main" '
        function deal(facility) {
            if (facility in place) return
            place[facility] = name[dealt++ % 3 + 1]
            print facility > (scratch "/organizations." place[facility])
        }
        BEGIN { split("hospital clinic laboratory", name, " ") }
        FNR == 1 { file++ }
        file == 1 { path = $0; sub(".*/", "", path); bundle[path] = $0; next }
        FNR == 1 { next }
        file == 2 { person[$1] = $4 }
        file == 3 && $1 == person[main] { deal($3) }
        file == 4 { deal($1) }
        file == 5 { charts[$1, place[$3]] = 1 }
        END {
            for (who in person) {
                number = who                 # Synthea names a file by its patient: First_Last_NUMBER.json
                sub(".*_", "", number)
                sub("[.]json$", "", number)
                for (i = 1; i <= 3; i++)
                    if (charts[person[who], name[i]])
                        print who, bundle[who], system_name, number > (scratch "/people." name[i])
            }
        }' "$scratch/bundles" "$data/MANIFEST.tsv" "$data/encounters.tsv" "$data/facilities.tsv" "$data/encounters.tsv"
}

# patient_of PLACE NAME: the id under which that place knows the person.
patient_of() {
    local line
    line=$(awk -F '\t' -v name="$2" '$1 == name { print $3 "\t" $4 }' "$scratch/people.$1")
    as "$1" patient lookup "${line%%$'\t'*}" "${line#*$'\t'}" --output json |
        sed -n 's/^ *"\([0-9a-f]\{32\}\)",\{0,1\}$/\1/p' | head -n 1
}

import_at() {
    local options=() paths=() organization path
    while read -r organization; do
        options+=(--organization "$organization")
    done <"$scratch/organizations.$1"
    while IFS= read -r path; do
        paths+=("$path")
    done < <(cut -f 2 "$scratch/people.$1")
    as "$1" import "${paths[@]}" "${options[@]}" --rules "$rules" >"$work/$1/import.report" ||
        fail "import at the $1: see $(cat "$work/$1/import.report")"
}

report_line() { sed -n 's/^documents: //p' "$work/$1/import.report"; }

# ---- the steps ---------------------------------------------------------------------------------------------

make_network() {
    step "A network of three facilities: each makes its own keys, certificates and node"
    local place
    "$chartmesh" network init --out "$work/operators" --name "Lake district" >/dev/null
    declare -gA port=()
    for place in $places; do
        port[$place]=$(free_port)
        "$chartmesh" node init --out "$work/$place" --network "$work/operators/trust" --domain "${domain[$place]}" \
            --name "${title[$place]}" --client-listen "127.0.0.1:$(free_port)" \
            --peer-listen "127.0.0.1:${port[$place]}" >/dev/null 2>&1
    done
    "$chartmesh" network add --network "$work/operators" "$work/hospital/membership" "$work/clinic/membership" \
        "$work/laboratory/membership" >/dev/null
    for place in $places; do
        "$chartmesh" node trust --node "$work/$place" "$work/operators/trust" >/dev/null
        "$chartmesh" node issue --node "$work/$place" app emr >/dev/null
        "$chartmesh" node issue --node "$work/$place" admin it >/dev/null
    done
    "$chartmesh" node issue --node "$work/hospital" auditor miller >/dev/null
    cp "$work/operators/trust" "$work/trust"
    # Hospital and clinic reach each other through lines that step 6 cuts.
    start_relay to-clinic "${port[clinic]}"
    printf '\ndial "%s" { address = "%s" }\n' "${domain[clinic]}" "$relayed" >>"$work/hospital/chartmeshd.conf"
    start_relay to-hospital "${port[hospital]}"
    printf '\ndial "%s" { address = "%s" }\n' "${domain[hospital]}" "$relayed" >>"$work/clinic/chartmeshd.conf"
    for place in $places; do
        start_node "$place"
        say "${title[$place]} (${domain[$place]}) serves: $(sed 's/^ready //; s/ pid=.*//' "$work/$place/ready")"
    done
    until_so "the hospital's links to both others" both_linked
    fine "all three are connected, mutual TLS, each knows the others by the operators' signed roster"
}

both_linked() { [ "$(it hospital peer list | grep -c 'connected: yes')" -eq 4 ]; }

import_patients() {
    step "Clinical records come in: FHIR R4 bundles, one patient each, at each facility its own"
    local place
    for place in $places; do
        import_at "$place"
        say "$place: $(wc -l <"$scratch/people.$place") patients; documents: $(report_line "$place")"
    done
    import_at hospital
    grep -q '^documents: 0 put' "$work/hospital/import.report" ||
        fail "importing again changed something: $(report_line hospital)"
    fine "importing at the hospital again adds nothing: $(report_line hospital)"
    patient=$(patient_of hospital "$main")
    [ -n "$patient" ] || fail "the hospital does not find $main by an identifier"
    theirs=${domain[hospital]}/$patient      # the same patient as the others name it
    say "the patient we follow: ${main%.json}, at the hospital $patient"
    if ! lists clinic "$theirs" 0 || ! lists laboratory "$theirs" 0; then
        fail "records were shared before anybody consented"
    fi
    fine "nobody consented yet: the clinic and the laboratory see nothing of the hospital's records"
}

give_consent() {
    step "Patients consent: the clinic for treatment, nothing sensitive; the laboratory only its own class"
    local name one own away count=0 sensitive=0 documents=0
    start_watch clinic
    start_watch laboratory
    as hospital consent grant "$patient" --to "${domain[clinic]}" >/dev/null
    until_so "the clinic receives" lists clinic "$theirs" "$(ids hospital "$patient" | wc -l)"
    say "${main%.json}: all $(ids clinic "$theirs" | wc -l) documents readable at the clinic $took ms after the consent"
    as hospital consent grant "$patient" --to "${domain[laboratory]}" --class "$class|laboratory" >/dev/null
    while IFS=$'\t' read -r name _; do
        one=$(patient_of hospital "$name")
        [ "$one" = "$patient" ] || as hospital consent grant "$one" --to "${domain[clinic]}" >/dev/null
        echo "$one" >>"$scratch/patients.hospital"
    done <"$scratch/people.hospital"
    while read -r one; do
        as hospital list "$one" --output json >"$scratch/all.json"
        own=$(document_count "$scratch/all.json")
        away=$((own - $(sensitive_count "$scratch/all.json")))
        until_so "what the clinic may have of $one" lists clinic "${domain[hospital]}/$one" "$away"
        count=$((count + 1)) documents=$((documents + away)) sensitive=$((sensitive + own - away))
    done <"$scratch/patients.hospital"
    as hospital consent show "$patient" | sed 's/^/      /'
    fine "$count patients: $documents documents are at the clinic, $sensitive sensitive ones are not"
    [ "$(ids laboratory "$theirs" | grep -cv "$(identity)" || true)" -eq 0 ] ||
        fail "the laboratory sees documents of other classes"
    fine "the laboratory has who the patient is, and nothing else: no document of its class is there yet"
}

document_count() { grep -c '^      "document": ' "$1" || true; }

# Documents with a sensitivity label, or more than normally confidential.
sensitive_count() {
    python3 - "$1" <<'END'
import json, sys
documents = json.load(open(sys.argv[1]))["documents"]
labels = [d["effective_labels"] for d in documents]
print(sum(1 for l in labels if l["sensitivity"] or l["confidentiality"] in "RV"))
END
}

identity() { as hospital list "$patient" --class "$class|patient" | cut -c 1-32; }

share_live() {
    step "Records appear live where they may, and nowhere else"
    printf '{"resourceType": "DiagnosticReport", "status": "final", "conclusion": "CRP 12 mg/l"}\n' >"$scratch/report.json"
    report=$(put_at hospital "$patient" "$scratch/report.json" --class "$class|laboratory" \
        --media-type application/fhir+json --title "CRP, follow-up")
    until_so "the clinic's watch shows the report" watched clinic "$report"
    say "a laboratory report: on the clinic's watch after $took ms"
    until_so "the laboratory's watch shows the report" watched laboratory "$report"
    say "... and on the laboratory's"
    must_show clinic "$theirs" "$report"
    must_show laboratory "$theirs" "$report"
    fine "and readable at both"
    image=$(put_at hospital "$patient" "$xray" --class "$class|imaging" --media-type image/png \
        --title "Chest X-ray" 2>/dev/null)
    version=$(as hospital get "$patient" "$image" --headers --output json | field version)
    rm -f "$scratch/x-ray.png"
    until_so "the clinic downloads the X-ray" fetch_xray
    cmp -s "$xray" "$scratch/x-ray.png" || fail "the X-ray differs at the clinic"
    fine "an X-ray image of $(wc -c <"$xray") bytes: byte for byte the same at the clinic after $took ms"
    must_hide laboratory "$theirs" "$image"
    fine "... and not at the laboratory: it is not of its class"
    secret=$(put_at hospital "$patient" "$scratch/report.json" --class "$class|laboratory" --sensitivity HIV \
        --confidentiality R --media-type application/fhir+json --title "Screening")
    sleep 1
    must_show hospital "$patient" "$secret"
    must_hide clinic "$theirs" "$secret"
    must_hide laboratory "$theirs" "$secret"
    ! watched clinic "$secret" || fail "a sensitive record was on the clinic's watch"
    fine "a report labelled sensitive (HIV): at the hospital, and nowhere else"
    as hospital consent explain "$patient" "$secret" --action DISCLOSE --facility "${domain[clinic]}" |
        sed -n '/reason/s/^/      /p'
}

fetch_xray() {
    rm -f "$scratch/x-ray.png"
    as clinic download "$theirs" "$image" --version "$version" --out "$scratch/x-ray.png"
}

cut_lines() { kill -USR1 "${pid[to-clinic]}" "${pid[to-hospital]}"; until_so "the lines are cut" lines_say cut; }
heal_lines() { kill -USR2 "${pid[to-clinic]}" "${pid[to-hospital]}"; until_so "the lines heal" lines_say healed; }
lines_say() { [ "$(tail -q -n 1 "$scratch/to-clinic.relay" "$scratch/to-hospital.relay" | grep -c "^$1\$")" -eq 2 ]; }

amend_apart() {
    step "The line between hospital and clinic breaks; both go on working, on the same document"
    local allergies=("--class" "$class|allergies" --media-type application/fhir+json --title Allergies)
    document=$(as hospital list "$patient" --class "$class|allergies" | cut -c 1-32 | head -n 1)
    as hospital get "$patient" "$document" --out "$scratch/allergies.json"
    cut_lines
    printf '%s\n' '{"resourceType": "AllergyIntolerance", "note": "hospital: rash after amoxicillin"}' \
        >"$scratch/at-hospital.json"
    printf '%s\n' '{"resourceType": "AllergyIntolerance", "note": "clinic: also hives after cefuroxime"}' \
        >"$scratch/at-clinic.json"
    put_at hospital "$patient" "$scratch/at-hospital.json" --document "$document" "${allergies[@]}" >/dev/null
    put_at clinic "$theirs" "$scratch/at-clinic.json" --document "$document" "${allergies[@]}" >/dev/null
    if ! heads_are hospital "$patient" "$document" 1 || ! heads_are clinic "$theirs" "$document" 1; then
        fail "something crossed a line that is cut"
    fi
    as clinic get "$theirs" "$document" --headers | grep -q 'pending: yes' ||
        fail "the clinic's amendment does not show as pending"
    fine "each amended the allergies by itself; at the clinic it shows as pending"
    heal_lines
    until_so "the conflict at the hospital" heads_are hospital "$patient" "$document" 2
    until_so "the conflict at the clinic" heads_are clinic "$theirs" "$document" 2
    fine "the line is back: both versions are kept, at both places; no clock decided"
    as hospital list "$patient" --class "$class|allergies" | sed 's/^/      /'
    printf '%s\n' '{"resourceType": "AllergyIntolerance", "note": "rash after amoxicillin, hives after cefuroxime"}' \
        >"$scratch/merged.json"
    as hospital merge "$patient" "$document" "$scratch/merged.json" "${allergies[@]}" >/dev/null
    heads_are hospital "$patient" "$document" 1 || fail "the merge left a conflict at the hospital"
    until_so "the merge at the clinic" heads_are clinic "$theirs" "$document" 1
    as clinic get "$theirs" "$document" --out - | cmp -s - "$scratch/merged.json" ||
        fail "the clinic does not have what was merged"
    fine "a physician merged them; the clinic had it after $took ms"
}

# Puts notes until the node does not answer any more; a line for each that was acknowledged.
write_notes() {
    local i id
    for i in $(seq 1 500); do
        echo "note $i" >"$scratch/note"
        id=$(put_at hospital "$patient" "$scratch/note" --class "$class|encounter" --media-type text/plain \
            --title "Note $i" --timeout 2 2>/dev/null) || return 0
        [ -n "$id" ] || return 0
        echo "$i $id" >>"$scratch/acknowledged"
    done
}

kill_node() {
    step "The hospital's node is killed (SIGKILL) while it writes"
    local i id count=0
    : >"$scratch/acknowledged"
    write_notes &
    pid[writer]=$!
    until_so "some notes are written" has_lines "$scratch/acknowledged" 12
    end hospital KILL
    wait "${pid[writer]}" || true
    unset "pid[writer]"
    start_node hospital
    say "started again $took ms later"
    while read -r i id; do
        [ "$(as hospital get "$patient" "$id" --out -)" = "note $i" ] || fail "acknowledged note $i is gone"
        until_so "note $i at the clinic" shows clinic "$theirs" "$id"
        count=$((count + 1))
    done <"$scratch/acknowledged"
    fine "all $count notes that had been acknowledged are there, and came to the clinic"
    [ "$(it hospital status --output json | field state)" = SERVING ] || fail "the hospital's node does not serve"
    fine "its log was checked against its own last checkpoint and goes on"
}

has_lines() { [ "$(wc -l <"$1")" -ge "$2" ]; }

revoke() {
    step "The patient takes it back from both, while the laboratory's node is down"
    local place
    end watch-laboratory TERM
    end laboratory TERM
    for place in clinic laboratory; do
        as hospital consent revoke "$patient" --to "${domain[$place]}" >/dev/null 2>&1
    done
    until_so "the clinic's receipt" case_is closed "${domain[clinic]}"
    say "the clinic purged its copies and signed a receipt, $took ms later:"
    cases
    case_is open "${domain[laboratory]}" || fail "the laboratory's case is not open"
    lists clinic "$theirs" 0 || fail "the clinic still shows something"
    must_hide clinic "$theirs" "$document"
    until_so "the clinic's watch shows the removal" watched clinic REMOVED
    fine "nothing is readable at the clinic any more; the laboratory's case is open, by name"
    start_node laboratory
    until_so "the laboratory's receipt" case_is closed "${domain[laboratory]}"
    cases
    lists laboratory "$theirs" 0 || fail "the laboratory still shows something"
    must_show hospital "$patient" "$document"
    fine "the laboratory came back, purged, and its case closed after $took ms; the hospital has its own records"
}

cases() { as hospital consent cases "$patient" --closed | cut -c 1-330 | sed 's/^/      /'; }
case_is() { as hospital consent cases "$patient" --closed | grep "^$1 " | grep -q " $2 "; }

audit() {
    step "An auditor asks what happened to this patient's record, and verifies the answer offline"
    local auditor=$work/hospital/clients/auditor-miller status=0 bytes
    it hospital authority grant --holder "$(sed -n 's/^principal *= //p' "$auditor/profile")" \
        --key "$auditor/audit.pub" --until 2035-01-01 >/dev/null
    until_so "a bundle that is proved" prove
    verify "$work/evidence.cmevid" | sed -n '1p; /^Claims/,/^$/p' | sed 's/^/      /'
    say "who got what, and gave it back: the last of it"
    verify "$work/evidence.cmevid" | grep -E ' (DISCLOSE|RECEIVE|PURGE_ORDERED|RECEIPT|AUDIT_QUERY) ' | tail -n 8 |
        sed 's|spiffe://[0-9a-f]*/||; s/^ */      /' | cut -c 1-150
    fine "evidence.cmevid ($(wc -c <"$work/evidence.cmevid") bytes) is PROVED, with no node and no network asked"
    bytes=$(wc -c <"$work/evidence.cmevid")
    flip "$work/evidence.cmevid" $((bytes / 2)) "$scratch/flipped.cmevid"
    verify "$scratch/flipped.cmevid" >"$scratch/flipped.report" || status=$?
    [ "$status" -eq 3 ] || [ "$status" -eq 4 ] || fail "a bundle with a changed byte verifies (exit code $status)"
    sed -n '1p' "$scratch/flipped.report" | sed 's/^/      /'
    sed -n 's/^  \(CONTRADICTED.*\)/      \1/p' "$scratch/flipped.report"
    fine "byte $((bytes / 2)) changed: verification says so, and where (exit code $status)"
}

# Cosignatures and map epochs follow within seconds: the auditor asks again until the answer proves.
prove() {
    rm -f "$work/evidence.cmevid" "$work/verify.args"
    "$chartmesh" audit query "$patient" --out "$work/evidence.cmevid" --args "$work/verify.args" \
        --profile "$work/hospital/clients/auditor-miller/profile" >/dev/null && verify "$work/evidence.cmevid"
}

# shellcheck disable=SC2046 # verify.args is a list of words
verify() { "$chartmesh" audit verify $(cat "$work/verify.args") "$1"; }

# flip FILE OFFSET OUT: a copy in which one bit of one byte differs.
flip() {
    python3 - "$@" <<'END'
import sys
content = bytearray(open(sys.argv[1], "rb").read())
content[int(sys.argv[2])] ^= 1
open(sys.argv[3], "wb").write(content)
END
}

what_next() {
    printf '\n%sAll of it was so, in %d seconds.%s Nothing is left running.\n' "$bold" "$SECONDS" "$plain"
    if [ -n "$keep" ]; then
        cat <<END
Everything is in $work. Try next:

  alias chartmesh=$chartmesh
  chartmesh audit verify \$(cat $work/verify.args) $work/evidence.cmevid
  $chartmeshd --config $work/hospital/chartmeshd.conf &
  export CHARTMESH_PROFILE=$work/hospital/clients/app-emr/profile
  chartmesh list $patient
  chartmesh history $patient $document
  chartmesh consent grant $patient --to ${domain[clinic]} && chartmesh consent show $patient
END
    else
        cat <<END
Try next:

  ./dev demo --keep /tmp/demo      the same, and all files stay: play on with the command line
  ./dev demo --data DIR            with Synthea's patients
  less docs/demo.md                what was to be seen, and how to look further
END
    fi
}

# ---- main --------------------------------------------------------------------------------------------------

data='' keep='' work=''
while [ $# -gt 0 ]; do
    case $1 in
    --data | --keep)
        [ $# -ge 2 ] || { usage >&2 && exit 2; }
        if [ "$1" = --data ]; then data=$2; else keep=$2; fi
        shift 2
        ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
done
[ -z "$data" ] || [ -f "$data/bundles.tar.xz" ] || { echo "demo: there is no $data/bundles.tar.xz" >&2 && exit 2; }

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -n "$keep" ]; then
    mkdir -- "$keep" || exit 2
    work=$(cd "$keep" && pwd)
else
    work=$(mktemp -d "${TMPDIR:-/tmp}/chartmesh-demo.XXXXXX")
fi
scratch=$work/scratch
mkdir "$scratch"
if [ -n "$data" ]; then
    synthea_patients
    xray=$scratch/made-up/images/mira-tolvanen-chest.png
else
    made_up_patients
    xray=$scratch/patients/images/mira-tolvanen-chest.png
fi

make_network
import_patients
give_consent
share_live
amend_apart
kill_node
revoke
audit
for one in "${!pid[@]}"; do
    end "$one" TERM
done
sed -i '/^dial /d' "$work/hospital/chartmeshd.conf" "$work/clinic/chartmeshd.conf"    # the lines are gone
what_next
