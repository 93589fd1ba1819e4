// All images with buildx: REGISTRY=registry.example/team/ docker buildx bake -f docker/docker-bake.hcl --push
// From the repository's root. docker/build.sh does the same with plain docker or podman.

variable "REGISTRY" {
  default = "" // with a slash at its end
}

variable "VERSION" {
  default = "0.1.0" // the package's, see components/advantageflow/__init__.py
}

variable "TAG" {
  default = VERSION // must not move: Kubeflow's cache knows an image by its name alone
}

variable "REVISION" {
  default = "unknown" // git rev-parse HEAD
}

variable "SOURCE" {
  default = "unknown"
}

variable "BASE_IMAGE" {
  default = "python:3.11-slim" // see docker/build.sh --lock-base
}

variable "TORCH_LOCK" {
  default = "torch.lock" // torch-cuda.lock for GPUs
}

variable "TORCH_INDEX_URL" {
  default = "" // a further package index, that has the wanted build of torch
}

group "default" {
  targets = ["stage"]
}

target "stage" {
  name       = stage
  matrix     = { stage = ["prompts", "rollout", "reward", "training", "evaluation", "loop"] }
  context    = "."
  dockerfile = "docker/Dockerfile"
  target     = stage
  tags       = ["${REGISTRY}advantageflow/${stage}:${TAG}"]
  args = {
    BASE_IMAGE      = BASE_IMAGE
    TORCH_LOCK      = TORCH_LOCK
    TORCH_INDEX_URL = TORCH_INDEX_URL
    VERSION         = VERSION
    REVISION        = REVISION
    SOURCE          = SOURCE
  }
}
