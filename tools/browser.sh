#!/bin/sh
# A browser for the tests that look at the HTML pages (tests/cli/browser): Debian's chromium, if this machine has none.
# Nothing else needs one. Without it those tests are skipped, and say so; where CI=true they fail instead.
set -eu

# The same names as in tests/support/browser.py.
for name in chromium chromium-browser google-chrome-stable google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "no chromium here: install the package chromium, or the tests of the HTML pages are left out" >&2
    exit 0
fi

echo "==> installing chromium for the tests of the HTML pages (some 230 MB on a bare machine)"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq -o Acquire::Retries=3 update
# A bare machine has no font, and then no text has a width.
apt-get -qq -o Acquire::Retries=3 install -y --no-install-recommends chromium fonts-liberation >/dev/null
