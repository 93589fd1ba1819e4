#!/usr/bin/env bash
# Prints the secrets that the manifests refer to. Pipe them into `kubectl create -f -`, which leaves alone what exists:
# a database keeps the password that it was made with.
#
#   infra/secrets.sh --s3-from-kfp                 | kubectl create -f -     # the key of KFP's own object store
#   infra/secrets.sh --s3 FILE [--hf-token FILE]   | kubectl create -f -     # a key of your own
#   infra/secrets.sh --no-s3                       | kubectl create -f -     # none: the cloud gives pods an identity
#
# --s3 FILE            AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=..., a line each
# --s3-from-kfp        takes both from KFP's secret mlpipeline-minio-artifact
# --no-s3              makes no secret for S3
# --hf-token FILE      a token of the model hub, for gated weights
# --runs-namespace N   where KFP runs pipelines (kubeflow)
#
# No secret appears in a command line or a file of ours. Written for bash 3.2 or later, with GNU's tools or BSD's (macOS).
set -euo pipefail

tracking=advantageflow
runs=kubeflow
s3=
hf=

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

while (($#)); do
    case $1 in
        --s3-from-kfp) s3=kfp ;;
        --no-s3) s3=none ;;
        --s3 | --hf-token | --runs-namespace)
            [[ -n ${2-} ]] || fail "$1 needs a value"
            case $1 in
                --s3) s3=file:$2 ;;
                --hf-token) hf=$2 ;;
                --runs-namespace) runs=$2 ;;
            esac
            shift
            ;;
        *) fail "there is no option $1; the first lines of $0 tell which there are" ;;
    esac
    shift
done
[[ -n $s3 ]] || fail 'say which key S3 is used with: --s3-from-kfp, --s3 FILE or --no-s3'

# A secret's manifest: namespace, name, and where kubectl finds the values.
secret() {
    echo ---
    kubectl create secret generic "$2" --namespace "$1" "${@:3}" --dry-run=client --output yaml |
        kubectl label --local --filename - --output yaml \
            "app.kubernetes.io/name=$2" app.kubernetes.io/component=secret \
            app.kubernetes.io/part-of=advantageflow app.kubernetes.io/managed-by=secrets.sh
}

kfp_value() {
    kubectl get secret mlpipeline-minio-artifact --namespace "$runs" --output "jsonpath={.data.$1}" | base64 --decode
}

random() {
    head -c 32 /dev/urandom | base64 | tr -d '\n'
}

case $s3 in
    kfp)
        key=$(kfp_value accesskey)
        secret_key=$(kfp_value secretkey)
        ;;
    file:*)
        file=${s3#file:}
        [[ -r $file ]] || fail "$file cannot be read"
        key=$(sed -n 's/^AWS_ACCESS_KEY_ID=//p' "$file")
        secret_key=$(sed -n 's/^AWS_SECRET_ACCESS_KEY=//p' "$file")
        ;;
esac
[[ $s3 == none || (-n $key && -n $secret_key) ]] ||
    fail "${s3#file:} gives no AWS_ACCESS_KEY_ID or no AWS_SECRET_ACCESS_KEY"
[[ -z $hf || -s $hf ]] || fail "$hf cannot be read or is empty"

if [[ $s3 != none ]]; then
    for namespace in "$tracking" "$runs"; do
        secret "$namespace" advantageflow-s3 --from-file=AWS_ACCESS_KEY_ID=<(printf %s "$key") \
            --from-file=AWS_SECRET_ACCESS_KEY=<(printf %s "$secret_key")
    done
fi
secret "$tracking" advantageflow-postgres --from-literal=username=mlflow --from-file=password=<(random)
if [[ -n $hf ]]; then
    secret "$runs" advantageflow-hf --from-file=HF_TOKEN=<(tr -d '\n' <"$hf")
fi
