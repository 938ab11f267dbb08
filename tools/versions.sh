#!/usr/bin/env bash
# The quick tests with other packages than the newest: the lowest versions of pyproject.toml, or NumPy alone.
#
#     tools/versions.sh lowest|minimal [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
"${2:-python3}" -m venv "$venv"

minimal() {
    "$venv/bin/pip" install --quiet . pytest
    "$venv/bin/pytest" -q -m "not slow" tests/test_{minimal,minimal_install,edges,outputs,exact_mean_states}.py
}

lowest() {
    "$venv/bin/pip" install --quiet . numpy==2.0.* scikit-learn==1.5.* scipy==1.13.* pyarrow==16.* matplotlib==3.8.* rich==13.0.* \
        "dask[dataframe,distributed]==2024.8.*" pandas==2.2.* polars==1.0.* ml_dtypes==0.4.* onnx==1.17.* hypothesis==6.100.* \
        mpmath==1.3.* threadpoolctl==3.5.* pytest==8.2.* pytest-xdist==3.6.* "pyparsing<3.2"
    # What compares with how scikit-learn checks and words things since 1.9, and what these versions cannot do themselves:
    # scipy's random_array(rng=), pyarrow's writing of lists that are null, categories of pandas that end in NUL, a scorer's name.
    newest=(test_as_scikit_learn test_with_labels_given test_what_the_last_of_many_labels_is test_labels_that_end_in_nul
        test_random_valid_calls test_multilabel_rows test_log_loss_is_recognised test_folds_of_a_single_class
        test_scorers_agree_with_scikit_learns_own test_without_classes_all_is_as_with_scikit_learns_own
        test_sparse_targets_are_never_dense test_a_column_of_lists)
    without=$(printf " or %s" "${newest[@]}")
    # A warning of NumPy's that concerns matplotlib.
    "$venv/bin/pytest" -n 2 -q -m "not slow" --ignore tests/test_log_loss_checks.py -k "not (${without# or })" \
        --deselect 'tests/test_coming_from.py::test_calls[scikit_learn cross_val_score(model, X, y, scoring="d2_log_loss_score")]' \
        -W "ignore:Conversion of an array:DeprecationWarning"
}

"$1"
