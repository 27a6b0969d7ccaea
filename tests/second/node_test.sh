#!/bin/sh
exec python3 -B tests/second/node_test.py client/chartmesh node/chartmeshd
