#!/bin/sh
# Installs requirements for the images: install.sh FOLDER REQUIREMENTS. Into /opt/venv itself, or into a layer on it.
# What /opt/venv and the layers below hold already is not installed again.
set -eu
folder=$1 requirements=$2
[ "$folder" = /opt/venv ] && into= || into="--prefix=$folder"
mkdir -p "$folder"
python3 -m pip --python /opt/venv/bin/python install --no-compile --disable-pip-version-check --root-user-action=ignore \
  ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} $into \
  --constraint "/build/$TORCH_LOCK" --constraint /build/requirements.lock --requirement "$requirements"
# Not for running: the packages' tests, and torch's headers, test programs and compiler of message formats.
find "$folder/lib" -type d -name tests -prune -exec rm -r {} +
for torch in "$folder"/lib/python3*/site-packages/torch; do
  rm -rf "$torch/include" "$torch/test" "$torch"/bin/*[tT]est* "$torch"/bin/*.pt* "$torch"/bin/protoc*
done
# Containers cannot write bytecode, and would compile every module at every start. Checked against nothing, as nothing
# changes here; some packages bring templates that are no Python, which fails and matters to nobody.
/opt/venv/bin/python -m compileall -qq -j 0 --invalidation-mode unchecked-hash "$folder/lib" || true
