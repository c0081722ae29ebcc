#!/bin/sh
# Makes or renews .venv from requirements.lock, and installs the two packages of this repository into it, editable.
# Safe to run twice at once: the second waits for the first.
set -eu
cd "$(dirname "$0")/.."
stamp=.venv/.installed

if command -v flock >/dev/null 2>&1 && [ "${TRAINYARD_SETUP_LOCKED:-}" = "" ]; then
    mkdir -p .trainyard
    TRAINYARD_SETUP_LOCKED=1 exec flock .trainyard/setup.lock "$0" "$@"
fi

wanted=$(cat requirements.lock pyproject.toml training_images/trainer/pyproject.toml tools/setup.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

python=
for candidate in "${PYTHON:-python3}" python3.11 python3.12 python3.13; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Trainyard needs Python 3.11 or newer. None was found as ${PYTHON:-python3}, python3.11, python3.12 or python3.13;" >&2
    echo "install one, or name it: make PYTHON=/path/to/python setup" >&2
    exit 2
fi

if [ ! -x .venv/bin/python ]; then
    echo "==> making .venv with $("$python" --version)"
    if ! "$python" -m venv .venv; then
        rm -rf .venv
        echo "$python could not make a virtual environment; on Debian and Ubuntu install the package python3-venv" >&2
        exit 2
    fi
fi
if [ ! -x .venv/bin/uv ]; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/uv/requirements.lock
fi
echo "==> installing the locked packages (some 6 GB the first time, PyTorch with CUDA being most of it)"
rm -f "$stamp"
.venv/bin/uv pip sync --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e . -e training_images/trainer
printf '%s\n' "$wanted" > "$stamp"
