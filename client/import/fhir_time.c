#include "client/import/fhir_time.h"

#include "proto/base/reader.h"

enum { SECOND_MS = 1000, MINUTE_MS = 60 * SECOND_MS };
static const int64_t DAY_MS = 24 * 60 * (int64_t)MINUTE_MS;

static bool next_is(struct reader *r, char c)
{
    bool there = r->left.len > 0 && r->left.data[0] == c;
    if (there) {
        read_u8(r);
    }
    return there;
}

static int64_t number(struct reader *r, size_t digits, int64_t min, int64_t max)
{
    int64_t value = 0;
    struct bytes text = read_bytes(r, digits);
    for (size_t i = 0; i < text.len; i++) {
        r->ok = r->ok && text.data[i] >= '0' && text.data[i] <= '9';
        value = value * 10 + (text.data[i] - '0');
    }
    r->ok = r->ok && value >= min && value <= max;
    return r->ok ? value : min;
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar, for years 1 to 9999. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t m = month <= 2 ? month + 9 : month - 3;     /* March is 0: leap days come last */
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static int64_t month_days(int64_t year, int64_t month)
{
    return month == 12 ? 31 : days_of(year, month + 1, 1) - days_of(year, month, 1);
}

/* A fraction of any length, in whole ms (what is finer is cut off). */
static int64_t fraction(struct reader *r, int64_t *precision)
{
    int64_t ms = 0;
    size_t digits = 0;
    while (r->left.len > 0 && r->left.data[0] >= '0' && r->left.data[0] <= '9') {
        int64_t digit = read_u8(r) - '0';
        ms = digits < 3 ? ms * 10 + digit : ms;
        digits++;
    }
    r->ok = r->ok && digits > 0;
    for (*precision = SECOND_MS; digits > 0 && *precision > 1; digits--) {
        *precision /= 10;
    }
    return ms * *precision;
}

static int64_t zone_ms(struct reader *r)
{
    if (r->left.len == 0 || next_is(r, 'Z')) {
        return 0;
    }
    bool west = next_is(r, '-');
    r->ok = r->ok && (west || next_is(r, '+'));
    int64_t hours = number(r, 2, 0, 14);
    r->ok = r->ok && next_is(r, ':');
    int64_t minutes = number(r, 2, 0, 59);
    return (west ? -1 : 1) * (hours * 60 + minutes) * MINUTE_MS;
}

static void clock_of(struct reader *r, struct fhir_time *time)
{
    int64_t precision = SECOND_MS;
    int64_t ms = number(r, 2, 0, 23) * 60 * MINUTE_MS;
    r->ok = r->ok && next_is(r, ':');
    ms += number(r, 2, 0, 59) * MINUTE_MS;
    r->ok = r->ok && next_is(r, ':');
    ms += number(r, 2, 0, 60) * SECOND_MS;
    if (next_is(r, '.')) {
        ms += fraction(r, &precision);
    }
    time->from += ms - zone_ms(r);
    time->until = time->from + precision;
}

bool fhir_time_read(struct bytes text, struct fhir_time *out)
{
    struct reader r = reader_of(text);
    int64_t month = 1, day = 1;
    int64_t year = number(&r, 4, 1, 9999);
    int64_t days = days_of(year, 12, 31) + 1 - days_of(year, 1, 1);
    if (r.ok && next_is(&r, '-')) {
        month = number(&r, 2, 1, 12);
        days = month_days(year, month);
        if (next_is(&r, '-')) {
            day = number(&r, 2, 1, days);
            days = 1;
        }
    }
    struct fhir_time time = {.from = days_of(year, month, day) * DAY_MS};
    time.until = time.from + days * DAY_MS;
    if (r.left.len > 0 && days == 1) {
        r.ok = r.ok && next_is(&r, 'T');
        clock_of(&r, &time);
    }
    if (!reader_end(&r)) {
        return false;
    }
    *out = time;
    return true;
}
