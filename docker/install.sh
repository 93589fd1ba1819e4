#!/bin/sh
# Installs packages while an image is built: install.sh FOLDER REQUIREMENTS. Into /opt/venv, or into a layer on top of it.
# What is there already, in /opt/venv or a layer below, is not installed again.
set -eu
folder=$1 requirements=$2
[ "$folder" = /opt/venv ] && into= || into="--prefix=$folder"
mkdir -p "$folder/lib"
cd /opt/packages
"$(readlink -f /opt/venv/bin/python)" -m pip --python /opt/venv/bin/python install --quiet --no-compile --no-input \
  --disable-pip-version-check --root-user-action=ignore $into --constraint requirements.lock --requirement "$requirements"
# torch and others name setuptools as a requirement, to build extensions with; they run without.
/opt/venv/bin/python /opt/packages/remove_build_tools.py
# Not for running: the packages' tests, and torch's headers, test programs and compiler of message formats.
find "$folder/lib" -type d -name tests -prune -exec rm -r {} +
for torch in "$folder"/lib/python3*/site-packages/torch; do
  rm -rf "$torch/include" "$torch/test" "$torch"/bin/*[tT]est* "$torch"/bin/*.pt* "$torch"/bin/protoc*
done
# Containers cannot write bytecode, and would compile every module at every start. It is held against nothing, as nothing
# changes here. Some packages bring templates that are no Python: that those cannot be compiled matters to nobody.
/opt/venv/bin/python -m compileall -qq -j 0 --invalidation-mode unchecked-hash "$folder/lib" || true
