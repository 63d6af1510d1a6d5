"""Names and words that hospitals use for the contract's columns and codes: for the first draft of a mapping.

A draft is read by a person before it is used. An entry here is still only one whose meaning is certain.
"""

from heartline.ingestion.mapping.file_mapping import LABEL

# Other names of a column, without case and signs between words.
NAMES: dict[str, tuple[str, ...]] = {
    "age": ("ageyears", "ageinyears", "patientage", "ageatexam"),
    "sex": ("gender", "patientsex"),
    "cp": ("chestpain", "chestpaintype", "cptype", "paintype"),
    "trestbps": (
        "trtbps", "restingbp", "restingbps", "restingbloodpressure", "restbp", "systolicbp", "sbp", "bp",
        "bloodpressure",
    ),
    "chol": ("cholesterol", "serumcholesterol", "totalcholesterol", "cholmgdl", "cholmmoll", "cholesteroltotal"),
    "fbs": ("fastingbs", "fastingbloodsugar", "fastingbloodsugarover120", "fbsover120", "bloodsugar"),
    "restecg": ("restingecg", "restingecgresults", "restingelectrocardiogram", "ecg", "ekgresults", "restecgresults"),
    "thalach": (
        "thalachh", "thalch", "maxhr", "maxheartrate", "maximumheartrate", "maxheartrateachieved", "peakhr", "hrmax",
    ),
    "exang": ("exng", "exerciseangina", "exerciseinducedangina", "exanginduced"),
    "oldpeak": ("stdepression", "stdepressionexercise", "stdep"),
    "slope": ("slp", "stslope", "slopeofst", "slopest", "stslopetype"),
    "ca": (
        "caa", "vessels", "majorvessels", "numberofvesselsfluro", "nummajorvessels", "colouredvessels",
        "coloredvessels",
    ),
    "thal": ("thall", "thallium", "thalliumscan", "thalassemia", "thaliumscan", "thalliumstresstest"),
    LABEL: (
        "target", "output", "condition", "heartdisease", "hasheartdisease", "diagnosis", "disease", "label", "outcome",
        "class", "presence",
    ),
}  # fmt: skip

# Words of a column whose code is certain.
WORDS: dict[str, dict[str, int]] = {
    "sex": {"f": 0, "female": 0, "woman": 0, "w": 0, "m": 1, "male": 1, "man": 1},
    "cp": {
        "typical angina": 1, "typical": 1, "ta": 1, "atypical angina": 2, "atypical": 2, "ata": 2,
        "non-anginal pain": 3, "non-anginal": 3, "nonanginal": 3, "nap": 3, "asymptomatic": 4, "asy": 4,
    },
    "fbs": {"no": 0, "n": 0, "false": 0, "yes": 1, "y": 1, "true": 1, "0": 0, "1": 1},
    "restecg": {
        "normal": 0, "st": 1, "st-t abnormality": 1, "st-t wave abnormality": 1, "lvh": 2, "lv hypertrophy": 2,
        "left ventricular hypertrophy": 2,
    },
    "exang": {"no": 0, "n": 0, "false": 0, "yes": 1, "y": 1, "true": 1, "0": 0, "1": 1},
    "slope": {
        "up": 1, "upsloping": 1, "flat": 2, "down": 3, "downsloping": 3,
    },
    "ca": {"0": 0, "1": 1, "2": 2, "3": 3, "zero": 0, "one": 1, "two": 2, "three": 3},
    "thal": {
        "normal": 3, "fixed defect": 6, "fixed": 6, "reversible defect": 7, "reversable defect": 7, "reversible": 7,
        "reversable": 7,
    },
}  # fmt: skip

# Codes that only the UCI archive's files have: a column that has one and no others holds the contract's codes.
PROOF: dict[str, float] = {"cp": 4, "slope": 3, "thal": 7}

# Words of a label that say what they mean.
DISEASE = ("disease", "heart disease", "presence", "present", "yes", "positive", "sick", "abnormal")
NO_DISEASE = ("no disease", "no heart disease", "absence", "absent", "no", "negative", "healthy", "normal")

# Words that are certain to mean a missing value.
MISSING = ("unknown", "missing", "not recorded", "not done", "not available", "n.a.", "-", "--", "#n/a")
