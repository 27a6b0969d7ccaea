/* What this machine gives: the parts that operations are made of, one row each. */
#include <stdlib.h>

#include "tests/bench/primitives.h"

int main(int argc, char **argv)
{
    struct primitives primitives;
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.5;
    seconds = seconds > 0 && seconds <= 4 ? seconds : 0.5;
    char *folder = bench_begin();
    primitives_measure(folder, seconds, &primitives);
    bench_conditions("chartmesh: primitives", folder, seconds);
    primitives_print(&primitives);
    bench_end(folder);
    return 0;
}
