#!/bin/sh
exec python3 -B tests/e2e/python_client_test.py client/chartmesh node/chartmeshd tests/lib/relay
