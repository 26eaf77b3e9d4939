#!/usr/bin/env bash
# There is nothing to stop; the environment stays for the next time.
#
#   stop.sh DIRECTORY
