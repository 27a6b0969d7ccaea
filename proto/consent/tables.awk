# Makes tables.gen.c of the three files, given in order: the text as shipped, its hash (hashes=...), the codes.
function bit(i) { return "UINT64_C(1) << " i }
function finish(    i, p) {
    printf "static const struct table_code %s_codes[] = {\n", name
    for (i = 0; i < n; i++) {
        for (p = i; p >= 0; p = parent[p]) covers[p] = covers[p] (covers[p] == "" ? "" : " | ") bit(i)
    }
    for (i = 0; i < n; i++) printf "    {\"%s\", %s, %s, %s, %d},\n", code[i], abstract[i], bit(i), covers[i], parent[i]
    printf "};\n"
    printf "const struct table table_%s = {\"%s\",\n", name, file
    printf "    {(const uint8_t *)%s_text, sizeof %s_text - 1},\n    {{%s}}, %s_codes, %d};\n\n", name, name, hash[part], name, n
}
function bytes(hex,    i, out) {
    for (i = 1; i < length(hex); i += 2) out = out "0x" substr(hex, i, 2) ","
    return out
}
BEGIN {
    FS = "\t"
    split(hashes, hex, " ")
    for (i in hex) hash[i] = bytes(hex[i])
    split("purpose confidentiality sensitivity", names, " ")
    print "#include \"proto/consent/tables.h\"\n"
}
FNR == 1 {
    if (part) { print ";"; finish() }
    name = names[++part]; n = 0
    file = FILENAME; sub(/.*\//, "", file); sub(/\.tsv$/, "", file)
    split("", covers)
    printf "static const char %s_text[] =\n", name
}
{
    text = $0
    gsub(/\t/, "\\t", text)
    printf "    \"%s\\n\"\n", text
}
FNR > 1 {
    code[n] = $1
    abstract[n] = $3 ? "true" : "false"
    parent[n] = -1
    for (i = 0; i < n; i++) if (code[i] == $2) parent[n] = i
    if (n > 63 || ($2 != "" && parent[n] < 0)) { print "tables.awk: " $1 ": parent " $2 | "cat 1>&2"; exit 1 }
    n++
}
END {
    print ";"
    finish()
    printf "const struct hash tables_sha256 = {{%s}};\n", hash[4]
}
