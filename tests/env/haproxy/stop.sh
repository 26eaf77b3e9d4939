#!/usr/bin/env bash
# Nothing runs; see start.sh.
