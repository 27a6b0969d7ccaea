#!/bin/sh
exec python3 -B tests/tidy/tidy_test.py
