#!/bin/sh
exec python3 -B tests/second/second_test.py proto/statement/text_test proto/merkle/text_test proto/content/text_test \
    proto/consent/consent_text_test
