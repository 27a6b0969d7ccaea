#include "tests/demo/patients.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/demo/png.h"

#define SNOMED "http://snomed.info/sct"
#define LOINC "http://loinc.org"
#define ATC "http://www.whocc.no/atc"
#define CVX "http://hl7.org/fhir/sid/cvx"
#define UCUM "http://unitsofmeasure.org"
#define V3_CLASS "http://terminology.hl7.org/CodeSystem/v3-ActCode"
#define OBSERVATION_CATEGORY "http://terminology.hl7.org/CodeSystem/observation-category"
#define REPORT_CATEGORY "http://terminology.hl7.org/CodeSystem/v2-0074"
#define PERSON_NUMBER "urn:example:person-number"

const struct patients_person patients[PATIENTS_COUNT] = {
    {"mira-tolvanen",
     "Mira",
     "Tolvanen",
     "female",
     "1961-04-17",
     "610417-3021",
     {true, true, true},
     true,
     "the main patient: pneumonia, penicillin allergy, diabetes; charts everywhere"},
    {"oskar-brennhaug",
     "Oskar",
     "Brennhaug",
     "male",
     "1948-11-02",
     "481102-7719",
     {true, true, true},
     true,
     "heart failure, many laboratory reports"},
    {"leyla-karadag",
     "Leyla",
     "Karadag",
     "female",
     "1989-06-25",
     "890625-4408",
     {true, true, true},
     false,
     "HIV infection, well treated: sensitive"},
    {"tomasz-wolny",
     "Tomasz",
     "Wolny",
     "male",
     "1977-02-09",
     "770209-1187",
     {true, true, false},
     false,
     "opioid dependence in treatment: sensitive"},
    {"ines-farrobo",
     "Ines",
     "Farrobo",
     "female",
     "1994-12-30",
     "941230-6250",
     {true, true, false},
     false,
     "bipolar disorder in treatment: sensitive"},
    {"ruben-askvold",
     "Ruben",
     "Askvold",
     "male",
     "2016-08-11",
     "160811-9034",
     {true, true, false},
     false,
     "a child: vaccines, asthma"},
    {"hanna-lindqvarn",
     "Hanna",
     "Lindqvarn",
     "female",
     "1956-01-21",
     "560121-5573",
     {true, false, true},
     false,
     "known at the hospital and the laboratory"},
    {"jonas-veldhuyzen",
     "Jonas",
     "Veldhuyzen",
     "male",
     "1983-09-14",
     "830914-2846",
     {false, true, true},
     false,
     "known at the clinic and the laboratory"},
};

const char *const patients_place_name[PLACE_COUNT] = {"hospital", "clinic", "laboratory"};

static const struct {
    const char *name, *domain, *city;
    const char *staff[3];
} PLACES[PLACE_COUNT] = {
    {"St. Anna Hospital", "st-anna.example", "Nordhafen", {"Astrid Mohnhaupt", "Emeka Duru", "Sofie Kallas"}},
    {"Lindenhof Clinic", "lindenhof.example", "Lindenau", {"Paul Ferrick", "Noor Haddadi", "Greta Olsvik"}},
    {"Blauwasser Laboratory", "blauwasser.example", "Nordhafen", {"Iva Perkov", "Hugo Lanz", "Mei Tanaka"}},
};

/* -- chance and time */

/* splitmix64: the same numbers everywhere. */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static int between(uint64_t *state, int low, int high)
{
    return low + (int)(next(state) % (uint64_t)(high - low + 1));
}

struct uuid {
    char text[37];
};

static struct uuid uuid_of(uint64_t *state)
{
    struct uuid uuid;
    uint64_t a = next(state), b = next(state);
    snprintf(uuid.text, sizeof uuid.text, "%08x-%04x-4%03x-%04x-%012jx", (unsigned)(a >> 32),
             (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff), (unsigned)(b >> 48 & 0x3fff) | 0x8000,
             (uintmax_t)(b & UINT64_C(0xffffffffffff)));
    return uuid;
}

struct when {
    char text[32];
};

/* Day 0 is 2021-01-01. */
static struct when when_of(int day, int minute)
{
    struct when when;
    struct tm parts;
    time_t at = (time_t)1609459200 + (time_t)day * 86400 + (time_t)minute * 60;
    gmtime_r(&at, &parts);
    strftime(when.text, sizeof when.text, "%Y-%m-%dT%H:%M:%S+00:00", &parts);
    return when;
}

/* -- a chart being written */

struct code {
    const char *system, *code, *display;
};

struct chart {
    struct builder *out;
    const struct patients_person *person;
    enum patients_place place;
    uint64_t chance;
    bool first;
    struct uuid patient, organization, staff[3];
    /* The encounter that is being written. */
    struct uuid encounter;
    int day, minute;
};

static struct uuid open_resource(struct chart *c, const char *type)
{
    struct uuid id = uuid_of(&c->chance);
    build_text(c->out,
               "%s    {\n      \"fullUrl\": \"urn:uuid:%s\",\n      \"resource\": {\n"
               "        \"resourceType\": \"%s\",\n        \"id\": \"%s\"",
               c->first ? "" : ",\n", id.text, type, id.text);
    c->first = false;
    return id;
}

static void close_resource(struct chart *c, const char *type)
{
    build_text(c->out, "\n      },\n      \"request\": {\"method\": \"POST\", \"url\": \"%s\"}\n    }", type);
}

static void member(struct chart *c, const char *format, ...) PRINTF_LIKE(2, 3);

static void member(struct chart *c, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    build_text(c->out, ",\n        %s", text);
}

static void concept(struct chart *c, const char *name, struct code code)
{
    member(c,
           "\"%s\": {\"coding\": [{\"system\": \"%s\", \"code\": \"%s\", \"display\": \"%s\"}], \"text\": \"%s\"}",
           name, code.system, code.code, code.display, code.display);
}

static void concepts(struct chart *c, const char *name, struct code code)
{
    member(c, "\"%s\": [{\"coding\": [{\"system\": \"%s\", \"code\": \"%s\", \"display\": \"%s\"}]}]", name,
           code.system, code.code, code.display);
}

static void reference(struct chart *c, const char *name, struct uuid to)
{
    member(c, "\"%s\": {\"reference\": \"urn:uuid:%s\"}", name, to.text);
}

/* Of this patient, in this encounter, now. */
static void of_encounter(struct chart *c, const char *subject)
{
    reference(c, subject, c->patient);
    reference(c, "encounter", c->encounter);
}

static struct when now(const struct chart *c)
{
    return when_of(c->day, c->minute);
}

static void write_directory(struct chart *c)
{
    c->organization = open_resource(c, "Organization");
    member(c, "\"identifier\": [{\"system\": \"urn:example:domain\", \"value\": \"%s\"}]",
           PLACES[c->place].domain);
    member(c, "\"active\": true");
    member(c, "\"name\": \"%s\"", PLACES[c->place].name);
    member(c, "\"address\": [{\"city\": \"%s\"}]", PLACES[c->place].city);
    close_resource(c, "Organization");
    for (size_t i = 0; i < COUNT(c->staff); i++) {
        const char *name = PLACES[c->place].staff[i];
        const char *space = strchr(name, ' ');
        c->staff[i] = open_resource(c, "Practitioner");
        member(c, "\"active\": true");
        member(c, "\"name\": [{\"text\": \"Dr. %s\", \"family\": \"%s\", \"given\": [\"%.*s\"]}]", name, space + 1,
               (int)(space - name), name);
        close_resource(c, "Practitioner");
    }
}

static void write_patient(struct chart *c)
{
    const struct patients_person *p = c->person;
    c->patient = open_resource(c, "Patient");
    member(c,
           "\"identifier\": [\n          {\"system\": \"https://%s/mrn\", \"value\": \"%06d\"},\n"
           "          {\"system\": \"%s\", \"value\": \"%s\"}\n        ]",
           PLACES[c->place].domain, between(&c->chance, 1000, 999999), PERSON_NUMBER, p->number);
    member(c, "\"name\": [{\"use\": \"official\", \"family\": \"%s\", \"given\": [\"%s\"]}]", p->family, p->given);
    member(c, "\"gender\": \"%s\"", p->gender);
    member(c, "\"birthDate\": \"%s\"", p->born);
    reference(c, "managingOrganization", c->organization);
    close_resource(c, "Patient");
}

static void write_encounter(struct chart *c, const char *class, struct code type, int day, int minutes)
{
    c->day = day;
    c->minute = between(&c->chance, 8 * 60, 16 * 60);
    c->encounter = open_resource(c, "Encounter");
    member(c, "\"status\": \"finished\"");
    member(c, "\"class\": {\"system\": \"%s\", \"code\": \"%s\"}", V3_CLASS, class);
    member(c,
           "\"type\": [{\"coding\": [{\"system\": \"%s\", \"code\": \"%s\", \"display\": \"%s\"}], \"text\": "
           "\"%s\"}]",
           type.system, type.code, type.display, type.display);
    reference(c, "subject", c->patient);
    member(c, "\"participant\": [{\"individual\": {\"reference\": \"urn:uuid:%s\"}}]",
           c->staff[between(&c->chance, 0, 2)].text);
    member(c, "\"period\": {\"start\": \"%s\", \"end\": \"%s\"}", now(c).text,
           when_of(c->day, c->minute + minutes).text);
    reference(c, "serviceProvider", c->organization);
    close_resource(c, "Encounter");
}

static void write_condition(struct chart *c, struct code code)
{
    open_resource(c, "Condition");
    concept(c, "clinicalStatus",
            (struct code){"http://terminology.hl7.org/CodeSystem/condition-clinical", "active", "Active"});
    concept(c, "code", code);
    of_encounter(c, "subject");
    member(c, "\"recordedDate\": \"%s\"", now(c).text);
    close_resource(c, "Condition");
}

static struct uuid write_observation(struct chart *c, const char *category, struct code code, const char *unit,
                                     int tenths)
{
    struct uuid id = open_resource(c, "Observation");
    member(c, "\"status\": \"final\"");
    concepts(c, "category", (struct code){OBSERVATION_CATEGORY, category, category});
    concept(c, "code", code);
    of_encounter(c, "subject");
    member(c, "\"effectiveDateTime\": \"%s\"", now(c).text);
    member(c, "\"issued\": \"%.19s.000+00:00\"", now(c).text);
    member(c, "\"valueQuantity\": {\"value\": %d.%d, \"unit\": \"%s\", \"system\": \"%s\", \"code\": \"%s\"}",
           tenths / 10, tenths % 10, unit, UCUM, unit);
    close_resource(c, "Observation");
    return id;
}

static void write_report(struct chart *c, const char *category, struct code code, const struct uuid *results,
                         size_t count, const char *conclusion)
{
    open_resource(c, "DiagnosticReport");
    member(c, "\"status\": \"final\"");
    concepts(c, "category", (struct code){REPORT_CATEGORY, category, category});
    concept(c, "code", code);
    of_encounter(c, "subject");
    member(c, "\"effectiveDateTime\": \"%s\"", now(c).text);
    member(c, "\"issued\": \"%.19s.000+00:00\"", now(c).text);
    if (count > 0) {
        build_text(c->out, ",\n        \"result\": [");
        for (size_t i = 0; i < count; i++) {
            build_text(c->out, "%s{\"reference\": \"urn:uuid:%s\"}", i ? ", " : "", results[i].text);
        }
        build_text(c->out, "]");
    }
    member(c, "\"conclusion\": \"%s\"", conclusion);
    close_resource(c, "DiagnosticReport");
}

struct test {
    struct code code;
    const char *unit;
    int low, high;               /* tenths */
};

static void write_panel(struct chart *c, struct code panel, const struct test *tests, size_t count)
{
    struct uuid results[8];
    for (size_t i = 0; i < count; i++) {
        results[i] = write_observation(c, "laboratory", tests[i].code, tests[i].unit,
                                       between(&c->chance, tests[i].low, tests[i].high));
    }
    write_report(c, "LAB", panel, results, count, "Values as listed; see the reference ranges of the laboratory.");
}

static void write_blood_count(struct chart *c)
{
    static const struct test TESTS[] = {
        {{LOINC, "718-7", "Hemoglobin [Mass/volume] in Blood"}, "g/dL", 110, 165},
        {{LOINC, "6690-2", "Leukocytes [#/volume] in Blood by Automated count"}, "10*3/uL", 40, 140},
        {{LOINC, "777-3", "Platelets [#/volume] in Blood by Automated count"}, "10*3/uL", 1500, 4000},
    };
    write_panel(c, (struct code){LOINC, "58410-2", "CBC panel - Blood by Automated count"}, TESTS, COUNT(TESTS));
}

static void write_metabolic(struct chart *c)
{
    static const struct test TESTS[] = {
        {{LOINC, "2345-7", "Glucose [Mass/volume] in Serum or Plasma"}, "mg/dL", 800, 1900},
        {{LOINC, "2160-0", "Creatinine [Mass/volume] in Serum or Plasma"}, "mg/dL", 6, 18},
        {{LOINC, "2951-2", "Sodium [Moles/volume] in Serum or Plasma"}, "mmol/L", 1340, 1460},
        {{LOINC, "2823-3", "Potassium [Moles/volume] in Serum or Plasma"}, "mmol/L", 34, 52},
        {{LOINC, "4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood"}, "%", 50, 89},
    };
    write_panel(c, (struct code){LOINC, "51990-0", "Basic metabolic panel - Blood"}, TESTS, COUNT(TESTS));
}

static void write_viral_load(struct chart *c)
{
    static const struct test TESTS[] = {
        {{LOINC, "25836-8", "HIV 1 RNA [#/volume] (viral load) in Specimen"}, "{copies}/mL", 200, 400},
    };
    write_panel(c, (struct code){LOINC, "20447-9", "HIV 1 RNA [#/volume] in Serum or Plasma"}, TESTS,
                COUNT(TESTS));
}

static void write_vitals(struct chart *c)
{
    static const struct test TESTS[] = {
        {{LOINC, "8867-4", "Heart rate"}, "/min", 580, 980},
        {{LOINC, "8310-5", "Body temperature"}, "Cel", 362, 389},
        {{LOINC, "8480-6", "Systolic blood pressure"}, "mm[Hg]", 1080, 1580},
        {{LOINC, "8462-4", "Diastolic blood pressure"}, "mm[Hg]", 640, 960},
        {{LOINC, "29463-7", "Body weight"}, "kg", 210, 980},
    };
    for (size_t i = 0; i < COUNT(TESTS); i++) {
        write_observation(c, "vital-signs", TESTS[i].code, TESTS[i].unit,
                          between(&c->chance, TESTS[i].low, TESTS[i].high));
    }
}

static void write_medicine(struct chart *c, struct code code, const char *dosage)
{
    open_resource(c, "MedicationRequest");
    member(c, "\"status\": \"active\"");
    member(c, "\"intent\": \"order\"");
    concept(c, "medicationCodeableConcept", code);
    of_encounter(c, "subject");
    member(c, "\"authoredOn\": \"%s\"", now(c).text);
    reference(c, "requester", c->staff[0]);
    member(c, "\"dosageInstruction\": [{\"text\": \"%s\"}]", dosage);
    close_resource(c, "MedicationRequest");
}

static void write_vaccine(struct chart *c, struct code code)
{
    open_resource(c, "Immunization");
    member(c, "\"status\": \"completed\"");
    concept(c, "vaccineCode", code);
    of_encounter(c, "patient");
    member(c, "\"occurrenceDateTime\": \"%s\"", now(c).text);
    member(c, "\"primarySource\": true");
    close_resource(c, "Immunization");
}

static void write_allergy(struct chart *c, struct code code, const char *criticality, int day)
{
    open_resource(c, "AllergyIntolerance");
    concept(
        c, "clinicalStatus",
        (struct code){"http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "active", "Active"});
    member(c, "\"type\": \"allergy\"");
    member(c, "\"criticality\": \"%s\"", criticality);
    concept(c, "code", code);
    reference(c, "patient", c->patient);
    member(c, "\"recordedDate\": \"%s\"", when_of(day, 600).text);
    close_resource(c, "AllergyIntolerance");
}

/* A goal is the patient's; the plan that pursues it was made in an encounter. */
static void write_care_plan(struct chart *c, struct code category, const char *goal_text, const char *activity)
{
    struct uuid goal = open_resource(c, "Goal");
    member(c, "\"lifecycleStatus\": \"active\"");
    member(c, "\"description\": {\"text\": \"%s\"}", goal_text);
    reference(c, "subject", c->patient);
    member(c, "\"startDate\": \"%.10s\"", now(c).text);
    close_resource(c, "Goal");
    open_resource(c, "CarePlan");
    member(c, "\"status\": \"active\"");
    member(c, "\"intent\": \"plan\"");
    concepts(c, "category", category);
    member(c, "\"title\": \"%s\"", category.display);
    of_encounter(c, "subject");
    member(c, "\"period\": {\"start\": \"%s\"}", now(c).text);
    member(c, "\"created\": \"%s\"", now(c).text);
    member(c, "\"goal\": [{\"reference\": \"urn:uuid:%s\"}]", goal.text);
    member(c, "\"activity\": [{\"detail\": {\"status\": \"in-progress\", \"description\": \"%s\"}}]", activity);
    close_resource(c, "CarePlan");
}

static void write_imaging(struct chart *c)
{
    open_resource(c, "ImagingStudy");
    member(c, "\"identifier\": [{\"system\": \"https://%s/study\", \"value\": \"%s-chest\"}]",
           PLACES[c->place].domain, c->person->name);
    member(c, "\"status\": \"available\"");
    of_encounter(c, "subject");
    member(c, "\"started\": \"%s\"", now(c).text);
    member(c, "\"numberOfSeries\": 1");
    member(c, "\"numberOfInstances\": 1");
    member(c, "\"description\": \"Chest, one view\"");
    close_resource(c, "ImagingStudy");
    write_report(c, "RAD", (struct code){LOINC, "36554-4", "XR Chest Single view"}, NULL, 0,
                 "Patchy consolidation in the right lower lobe. No effusion. Heart size normal.");
}

/* -- what happened to whom */

static bool is(const struct chart *c, const char *name)
{
    return strcmp(c->person->name, name) == 0;
}

#define CHECK_UP ((struct code){SNOMED, "185349003", "Encounter for check up"})
#define PROBLEM ((struct code){SNOMED, "185347001", "Encounter for problem"})
#define EMERGENCY ((struct code){SNOMED, "50849002", "Emergency room admission"})
#define ADMISSION ((struct code){SNOMED, "183452005", "Emergency hospital admission"})
#define LABORATORY_VISIT ((struct code){SNOMED, "33879002", "Laboratory visit"})
#define DIABETES ((struct code){SNOMED, "44054006", "Diabetes mellitus type 2"})
#define HIV ((struct code){SNOMED, "86406008", "Human immunodeficiency virus infection"})
#define OPIOIDS ((struct code){SNOMED, "5602001", "Opioid abuse"})
#define BIPOLAR ((struct code){SNOMED, "13746004", "Bipolar disorder"})

static void write_pneumonia(struct chart *c)
{
    write_encounter(c, "EMER", EMERGENCY, 1502, 240);
    write_vitals(c);
    write_condition(c, (struct code){SNOMED, "233604007", "Pneumonia"});
    write_imaging(c);
    write_encounter(c, "IMP", ADMISSION, 1503, 4 * 24 * 60);
    write_blood_count(c);
    write_metabolic(c);
    write_medicine(c, (struct code){ATC, "J01FA10", "azithromycin"}, "500 mg once a day for 3 days");
    write_vitals(c);
}

static void write_sensitive(struct chart *c, int day)
{
    if (is(c, "leyla-karadag")) {
        write_encounter(c, "AMB", PROBLEM, day, 40);
        write_condition(c, HIV);
        write_medicine(c, (struct code){ATC, "J05AR20", "emtricitabine, tenofovir alafenamide and bictegravir"},
                       "one tablet a day");
    } else if (is(c, "tomasz-wolny")) {
        write_encounter(c, "AMB", PROBLEM, day, 40);
        write_condition(c, OPIOIDS);
        write_medicine(c, (struct code){ATC, "N07BC01", "buprenorphine"}, "8 mg once a day, under the tongue");
    } else if (is(c, "ines-farrobo")) {
        write_encounter(c, "AMB", PROBLEM, day, 50);
        write_condition(c, BIPOLAR);
        write_medicine(c, (struct code){ATC, "N05AN01", "lithium"}, "450 mg twice a day");
    }
}

static void write_hospital(struct chart *c)
{
    if (is(c, "mira-tolvanen")) {
        write_allergy(c, (struct code){SNOMED, "91936005", "Allergy to penicillin"}, "high", 120);
    }
    for (int year = 0; year < 5; year += 2) {
        write_encounter(c, "AMB", CHECK_UP, year * 365 + between(&c->chance, 20, 300), 30);
        write_vitals(c);
    }
    if (c->person->xray) {
        write_pneumonia(c);
    } else {
        write_encounter(c, "EMER", EMERGENCY, between(&c->chance, 900, 1300), 180);
        write_vitals(c);
        write_condition(c, (struct code){SNOMED, "44465007", "Sprain of ankle"});
    }
    if (is(c, "oskar-brennhaug")) {
        write_encounter(c, "IMP", ADMISSION, 1010, 6 * 24 * 60);
        write_condition(c, (struct code){SNOMED, "84114007", "Heart failure"});
        write_medicine(c, (struct code){ATC, "C03CA01", "furosemide"}, "40 mg each morning");
        write_metabolic(c);
    }
    write_sensitive(c, 1400);
}

static void write_clinic(struct chart *c)
{
    bool child = is(c, "ruben-askvold");
    write_allergy(c,
                  child ? (struct code){SNOMED, "91935009", "Allergy to peanuts"}
                        : (struct code){SNOMED, "300916003", "Latex allergy"},
                  child ? "high" : "low", 60);
    for (int year = 0; year < 5; year++) {
        write_encounter(c, "AMB", CHECK_UP, year * 365 + between(&c->chance, 20, 340), 25);
        write_vitals(c);
        write_vaccine(c, (struct code){CVX, "140", "Influenza, seasonal, injectable, preservative free"});
    }
    if (is(c, "mira-tolvanen")) {
        write_encounter(c, "AMB", PROBLEM, 700, 30);
        write_condition(c, DIABETES);
        write_medicine(c, (struct code){ATC, "A10BA02", "metformin"}, "850 mg twice a day, with meals");
        write_care_plan(c, (struct code){SNOMED, "734163000", "Care plan"},
                        "Hemoglobin A1c below 7 % within a year", "Walk for half an hour on five days a week");
    }
    if (child) {
        write_encounter(c, "AMB", PROBLEM, 820, 30);
        write_condition(c, (struct code){SNOMED, "195967001", "Asthma"});
        write_medicine(c, (struct code){ATC, "R03AC02", "salbutamol"}, "two puffs when needed");
    }
    write_sensitive(c, 1450);
}

static void write_laboratory(struct chart *c)
{
    for (int year = 1; year < 5; year++) {
        write_encounter(c, "AMB", LABORATORY_VISIT, year * 365 + between(&c->chance, 20, 340), 10);
        write_blood_count(c);
        write_metabolic(c);
    }
    if (is(c, "leyla-karadag")) {
        write_encounter(c, "AMB", LABORATORY_VISIT, 1405, 10);
        write_viral_load(c);
    }
}

void patients_bundle(size_t person, enum patients_place place, uint64_t seed, struct builder *out)
{
    struct chart chart = {.out = out,
                          .person = &patients[person],
                          .place = place,
                          .first = true,
                          .chance = seed ^ (person * PLACE_COUNT + place + 1) * UINT64_C(0xd1342543de82ef95)};
    build_text(out, "{\n  \"resourceType\": \"Bundle\",\n  \"type\": \"transaction\",\n  \"entry\": [\n");
    write_directory(&chart);
    write_patient(&chart);
    switch (place) {
    case PLACE_HOSPITAL:
        write_hospital(&chart);
        break;
    case PLACE_CLINIC:
        write_clinic(&chart);
        break;
    default:
        write_laboratory(&chart);
        break;
    }
    build_text(out, "\n  ]\n}\n");
}

/* -- an image: two dark lungs in a gray chest, ribs across, a bright spine and heart */

enum { WIDTH = 1152, HEIGHT = 1344 };

/* How deep (x, y) is in an ellipse: 256 at its middle, 0 at its edge and outside. */
static int depth(int x, int y, int cx, int cy, int rx, int ry)
{
    int64_t dx = x - cx, dy = y - cy;
    int64_t d = dx * dx * 256 / ((int64_t)rx * rx) + dy * dy * 256 / ((int64_t)ry * ry);
    return d >= 256 ? 0 : (int)(256 - d);
}

static uint8_t sample(int x, int y, uint64_t *chance)
{
    int mid = WIDTH / 2, off = abs(x - mid);
    int body = depth(x, y, mid, HEIGHT * 6 / 10, WIDTH * 48 / 100, HEIGHT * 62 / 100);
    int lung = depth(x, y, x < mid ? mid - 240 : mid + 240, HEIGHT / 2, 190, 440);
    int heart = depth(x, y, mid + 70, HEIGHT * 62 / 100, 190, 210);
    int shadow = depth(x, y, mid - 260, HEIGHT * 66 / 100, 110, 130);
    int rib = (y + off * off / 900) % 104;
    int value = 12 + (body ? 110 + body / 8 : 0) - lung * 2 / 5 + heart / 3 + shadow / 5;
    value += off < 46 ? 60 - off : 0;
    value += body && off > 46 && rib < 26 ? 26 - abs(rib - 13) : 0;
    value += (int)(next(chance) % 13) - 6;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

void patients_image(size_t person, uint64_t seed, struct builder *out)
{
    uint64_t chance = seed ^ (person + 1) * UINT64_C(0xa0761d6478bd642f);
    AUTO_BUILDER(samples, WIDTH * HEIGHT);
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        build_u8(&samples, sample(i % WIDTH, i / WIDTH, &chance));
    }
    png_build(samples.data, WIDTH, HEIGHT, out);
    out->ok = out->ok && samples.ok;
}
