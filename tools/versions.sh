#!/usr/bin/env bash
# The quick tests with other packages than the newest: the lowest versions of pyproject.toml, or NumPy alone.
#
#     tools/versions.sh lowest|minimal [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
"${2:-python3}" -m venv "$venv"
case $1 in
    lowest)
        # The lowest of each range; what NumPy 2.0 cannot be used with begins later.
        "$venv/bin/pip" install --quiet . numpy==2.0.* scikit-learn==1.5.* scipy==1.13.* pandas==2.2.* pyarrow==16.* \
            polars==1.0.* matplotlib==3.8.* rich==13.0.* ml_dtypes==0.4.* onnx==1.17.* dask[dataframe,distributed]==2024.8.* \
            hypothesis==6.100.* mpmath==1.3.* threadpoolctl==3.5.* pytest==8.2.* pytest-xdist==3.6.*
        tests=(tests) ;;
    minimal)
        "$venv/bin/pip" install --quiet . pytest
        tests=(tests/test_{minimal,minimal_install,edges,outputs,exact_mean_states}.py) ;;
esac
"$venv/bin/pytest" -q -m "not slow" -p no:cacheprovider "${tests[@]}"
