"""The layouts that people hold, made from the synthetic sample: headers and words, no rows of real files."""

import pandas as pd

CP = {1: "typical angina", 2: "atypical angina", 3: "non-anginal", 4: "asymptomatic"}


def binary(cohort: pd.DataFrame) -> pd.DataFrame:
    """Return the records with a label of 0 and 1."""
    return cohort.assign(num=(cohort["num"] > 0).astype(int))


def heart_918(cohort: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Age": cohort["age"],
            "Sex": cohort["sex"].map({0: "F", 1: "M"}),
            "ChestPainType": cohort["cp"].map({1: "TA", 2: "ATA", 3: "NAP", 4: "ASY"}),
            "RestingBP": cohort["trestbps"],
            "Cholesterol": cohort["chol"],
            "FastingBS": cohort["fbs"],
            "RestingECG": cohort["restecg"].map({0: "Normal", 1: "ST", 2: "LVH"}),
            "MaxHR": cohort["thalach"],
            "ExerciseAngina": cohort["exang"].map({0: "N", 1: "Y"}),
            "Oldpeak": cohort["oldpeak"],
            "ST_Slope": cohort["slope"].map({1: "Up", 2: "Flat", 3: "Down"}),
            "HeartDisease": (cohort["num"] > 0).astype(int),
        }
    )


def heart_920(cohort: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": range(1, len(cohort) + 1),
            "age": cohort["age"],
            "sex": cohort["sex"].map({0: "Female", 1: "Male"}),
            "dataset": "Cleveland",
            "cp": cohort["cp"].map(CP),
            "trestbps": cohort["trestbps"],
            "chol": cohort["chol"],
            "fbs": cohort["fbs"].map({0: "FALSE", 1: "TRUE"}),
            "restecg": cohort["restecg"].map({0: "normal", 1: "st-t abnormality", 2: "lv hypertrophy"}),
            "thalch": cohort["thalach"],
            "exang": cohort["exang"].map({0: "FALSE", 1: "TRUE"}),
            "oldpeak": cohort["oldpeak"],
            "slope": cohort["slope"].map({1: "upsloping", 2: "flat", 3: "downsloping"}),
            "ca": cohort["ca"],
            "thal": cohort["thal"].map({3: "normal", 6: "fixed defect", 7: "reversable defect"}),
            "num": cohort["num"],
        }
    )


def heart_297(cohort: pd.DataFrame) -> pd.DataFrame:
    return (
        binary(cohort)
        .assign(cp=cohort["cp"] - 1, slope=cohort["slope"] - 1, thal=cohort["thal"].map({3: 0, 6: 1, 7: 2}))
        .rename(columns={"num": "condition"})
    )


def hospital(cohort: pd.DataFrame) -> pd.DataFrame:
    return cohort.assign(sex=cohort["sex"].map({0: "F", 1: "M"})).rename(
        columns={"chol": "Cholesterol", "thalach": "max_heart_rate"}
    )


def kaggle(cohort: pd.DataFrame) -> pd.DataFrame:
    return cohort.assign(
        cp=cohort["cp"].map({1: 3, 2: 1, 3: 2, 4: 0}),
        restecg=cohort["restecg"].map({0: 1, 1: 2, 2: 0}),
        slope=cohort["slope"].map({1: 2, 2: 1, 3: 0}),
        thal=cohort["thal"].map({6: 1, 3: 2, 7: 3}).fillna(0),
        ca=cohort["ca"].fillna(4),
        num=(cohort["num"] == 0).astype(int),
    ).rename(columns={"num": "target"})
