#!/usr/bin/env bash
# Builds the images of the stages with docker or podman, and writes which image is which stage's for `advantageflow`.
#
#   docker/build.sh [OPTION]... [-- ENGINE_OPTION...]
#
#   --engine docker|podman    which program builds; docker if it is there, else podman
#   --registry PREFIX         where the images go, such as registry.example/team; none: this machine only
#   --tag TAG                 their tag, which must not be 'latest'; the package's version if not given
#   --stage STAGE             one stage alone; may be repeated; all if not given
#   --base IMAGE              base image with Python 3.11 or later; BASE_IMAGE, or that of docker/Dockerfile, if not given
#   --lock-base               write the digest that the base has in its registry now into docker/, and build nothing
#   --torch-lock FILE         torch.lock or torch-cuda.lock of docker/requirements (TORCH_LOCK)
#   --torch-index URL         a further package index, that has the wanted build of torch (TORCH_INDEX_URL)
#   --source URL              where the source is, for the images' labels; git's origin if not given
#   --push                    push the images, and name them by digest
#   --images FILE             JSON file of stage to image to write; images.json if not given
#
# What follows -- goes to the engine's build command, such as --build-arg, --volume or --platform.
# Written for bash 3.2 or later, with GNU's tools or BSD's (macOS).
set -euo pipefail

all="prompts rollout reward training evaluation loop"
stages= registry= tag= engine= push= source= lock= base=${BASE_IMAGE:-} images=images.json
arguments=(--file docker/Dockerfile)
fail() { echo "docker/build.sh: $1" >&2; exit 2; }
value() { (($# > 1)) || fail "$1 needs a value"; }

while (($#)); do
  case $1 in
    --engine) value "$@"; engine=$2; shift ;;
    --registry) value "$@"; registry=${2%/}/; shift ;;
    --tag) value "$@"; tag=$2; shift ;;
    --stage) value "$@"; stages+=" $2"; shift ;;
    --base) value "$@"; base=$2; shift ;;
    --lock-base) lock=yes ;;
    --torch-lock) value "$@"; arguments+=(--build-arg "TORCH_LOCK=$(basename "$2")"); shift ;;
    --torch-index) value "$@"; arguments+=(--build-arg "TORCH_INDEX_URL=$2"); shift ;;
    --source) value "$@"; source=$2; shift ;;
    --push) push=yes ;;
    --images) value "$@"; images=$2; shift ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"; exit ;;
    --) shift; arguments+=("$@"); break ;;
    *) fail "there is no option $1; see docker/build.sh --help" ;;
  esac
  shift
done
case $images in /*) ;; *) images=$PWD/$images ;; esac
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' components/advantageflow/__init__.py)
tag=${tag:-$version}
[ "$tag" != latest ] || fail "--tag latest: Kubeflow's cache would take old results for new; give a tag that never moves"
for stage in $stages; do
  [[ " $all " == *" $stage "* ]] || fail "--stage $stage: the stages are $all"
done
[ -n "$engine" ] || engine=$(command -v docker >/dev/null && echo docker || echo podman)
command -v "$engine" >/dev/null || fail "there is no $engine here: install docker or podman, or name one with --engine"
base=${base:-$(sed -n 's/^ARG BASE_IMAGE=//p' docker/Dockerfile)}
if [ -n "$lock" ]; then
  base=${base%@*}
  "$engine" pull "$base" >&2
  digest=$("$engine" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$base" | sed -n 's/.*@//p' | head -n 1)
  [ -n "$digest" ] || fail "$base has no digest: it does not come from a registry"
  for file in docker/Dockerfile docker/docker-bake.hcl; do
    sed -E "s#^(ARG BASE_IMAGE=).*#\\1$base@$digest#; /^variable \"BASE_IMAGE\"/,/^}/s#(default = )\"[^\"]*\"#\\1\"$base@$digest\"#" \
      "$file" >"$file.new"
    cat "$file.new" >"$file" && rm "$file.new"
  done
  echo "docker/Dockerfile and docker/docker-bake.hcl build on $base@$digest"
  exit
fi
arguments+=(--build-arg "BASE_IMAGE=$base")
[[ -z "$push" || "$base" == *@sha256:* ]] ||
  echo "docker/build.sh: the base $base has no digest, so this build cannot be repeated; see --lock-base" >&2
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ "$revision" = unknown ] || git diff --quiet HEAD -- components docker || revision+=-dirty
# Without user and password, should the address have them.
source=${source:-$(git remote get-url origin 2>/dev/null | sed -E 's#^([a-z+]+://)[^/@]*@#\1#' || true)}

# The reference by which every machine finds the image: the digest that the registry gave it, or the tag.
pushed() {
  local image=$1 file
  if [ "$(basename "$engine")" = podman ]; then
    file=$(mktemp)
    "$engine" push --digestfile "$file" "$image" >&2
    echo "${image%:*}@$(cat "$file")"
    rm -f "$file"
  else
    "$engine" push "$image" >&2
    "$engine" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image" | grep -F "${image%:*}@" | head -n 1
  fi
}

entries=
for stage in ${stages:-$all}; do
  image=${registry}advantageflow/$stage:$tag
  echo "building $image"
  "$engine" build --target "$stage" --tag "$image" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    --build-arg "SOURCE=${source:-unknown}" "${arguments[@]}" .
  [ -z "$push" ] || image=$(pushed "$image")
  entries+="${entries:+,$'\n'}  \"$stage\": \"$image\""
done
printf '{\n%s\n}\n' "$entries" >"$images"
echo "wrote $images"
