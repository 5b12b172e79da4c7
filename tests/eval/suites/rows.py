"""A few rows of every benchmark in its published columns, made up here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Dataset, Features, Image, List, Value

from tests.eval.samples import picture

if TYPE_CHECKING:
    from pathlib import Path


def image(colour: str) -> dict[str, Any]:
    """An image as the Hub's parquet files hold it."""
    return {"bytes": picture(colour).data, "path": None}


def write(path: Path, rows: list[dict[str, Any]], images: tuple[str, ...]) -> None:
    """Rows to a parquet file whose image columns are typed as on the Hub."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inferred = Dataset.from_list([{k: v for k, v in r.items() if k not in images} for r in rows])
    features = dict(inferred.features) | {name: Image() for name in images}
    for name, feature in list(features.items()):
        if getattr(feature, "dtype", None) == "null":
            features[name] = Value("string")
        if isinstance(feature, List) and getattr(feature.feature, "dtype", None) == "null":
            features[name] = List(Value("string"))
    ordered = {name: features[name] for name in rows[0]}
    Dataset.from_list(rows, features=Features(ordered)).to_parquet(str(path))


def _vista(pid: str, colour: str, **more: Any) -> dict[str, Any]:
    metadata = {
        "category": "general-vqa", "context": "natural image", "grade": "daily life",
        "img_height": 56, "img_width": 56, "language": "english", "skills": ["numeric"],
        "source": "A-OKVQA", "split": "testmini", "task": "visual question answering",
        **more.pop("metadata", {}),
    }  # fmt: skip
    return {
        "pid": pid, "question": f"Question {pid}?", "image": f"images/{pid}.jpg",
        "decoded_image": image(colour), "choices": None, "unit": None, "precision": None,
        "answer": "3", "question_type": "free_form", "answer_type": "integer",
        "metadata": metadata, "query": "Hint: ...", **more,
    }  # fmt: skip


MATH_VQA = {"category": "math-targeted-vqa", "context": "geometry diagram"}
MATHVISTA = [
    _vista("1", "red", choices=["dog", "cat"], answer="cat", answer_type="text",
           question_type="multi_choice"),
    _vista("2", "red", unit="years"),
    _vista("3", "blue", answer="1.2", answer_type="float", precision=1.0,
           metadata={"context": "bar chart"}),
    _vista("4", "green", answer="[0, 2, 1]", answer_type="list",
           metadata={"context": "table"}),
    _vista("5", "white", metadata=MATH_VQA),
    _vista("6", "black", metadata={"category": "math-targeted-vqa", "context": "table",
                                   "task": "geometry problem solving"}),
]  # fmt: skip
MATHVISION = [
    {"id": "4", "question": "How many <image1> are in <image2>?", "options": [], "image": "i/4.jpg",
     "decoded_image": image("red"), "answer": "\\frac{1}{2}", "solution": None, "level": 2,
     "subject": "counting"},
    {"id": "5", "question": "Which? <image1>", "options": ["A", "B", "C", "D", "E"],
     "image": "i/5.jpg", "decoded_image": image("blue"), "answer": "C", "solution": None,
     "level": 5, "subject": "algebra"},
    {"id": "6", "question": "Which? <image1>", "options": ["10", "12"], "image": "i/6.jpg",
     "decoded_image": image("blue"), "answer": "B", "solution": "because", "level": 5,
     "subject": "algebra"},
]  # fmt: skip


def _verse(index: str, problem: str, version: str, **more: Any) -> dict[str, Any]:
    return {
        "sample_index": index, "problem_index": problem, "problem_version": version,
        "question": "Find x. Choices: A:1 B:2", "image": image("red"), "answer": "B",
        "question_type": "multi-choice",
        "metadata": {"split": "testmini", "source": "geo", "subject": "Plane Geometry",
                     "subfield": "Angle"},
        "query_wo": "...", "query_cot": "...", "question_for_eval": "Find x.", **more,
    }  # fmt: skip


MATHVERSE = [
    _verse("1", "7", "Text Dominant"),
    _verse("2", "7", "Vision Only", question=""),
    _verse("3", "8", "Text Lite", question_type="free-form", answer="2\\sqrt{3}"),
]


def _mmmu(name: str, **more: Any) -> dict[str, Any]:
    images = {f"image_{n}": None for n in range(1, 8)} | {"image_1": image("red")}
    return {
        "id": name, "question": "Which <image 1>?", "options": "['<image 2>', 'b']",
        "explanation": "", **images, "img_type": "['Tables']", "answer": "A",
        "topic_difficulty": "Easy", "question_type": "multiple-choice", "subfield": "Audit",
        **more,
    }  # fmt: skip


MMMU = {
    "Accounting": [_mmmu("validation_Accounting_1", image_2=image("blue"))],
    "Art_Theory": [
        _mmmu("validation_Art_Theory_2", options="[]", question_type="open",
              answer="['1.06', '1.07']"),
        _mmmu("validation_Art_Theory_3", options="[]", question_type="open", answer="Rococo"),
    ],
}  # fmt: skip


def _blink(name: str, kind: str) -> dict[str, Any]:
    return {
        "idx": name, "question": "Same style?", "sub_task": kind, "image_1": image("red"),
        "image_2": image("blue"), "image_3": None, "image_4": None, "choices": ["yes", "no"],
        "answer": "(B)", "explanation": "", "prompt": "Same style?\nSelect.\n(A) yes\n(B) no",
    }  # fmt: skip


BLINK = {"Art_Style": [_blink("val_Art_Style_1", "Art_Style")],
         "Counting": [_blink("val_Counting_1", "Counting")]}  # fmt: skip
HALLUSIONBENCH = [
    {"category": "VD", "subcategory": "illusion", "visual_input": "1", "set_id": "0",
     "figure_id": figure, "sample_note": "circle", "question_id": "0",
     "question": "Is the right circle larger?", "gt_answer_details": "same size",
     "gt_answer": gold, "filename": f"{figure}.png", "image": image(colour)}
    for figure, gold, colour in (("0", "0", "red"), ("1", "1", "blue"))
]  # fmt: skip
CVBENCH = [
    {"idx": n, "type": "2D", "task": "Count", "image": image("red"), "question": "How many?",
     "choices": ["0", "3"], "answer": "(B)", "prompt": "How many? Select", "filename": "x.png",
     "source": "COCO", "source_dataset": "COCO", "source_filename": "1.jpg"}
    for n in range(3)
]  # fmt: skip
MATH500 = [
    {"problem": f"What is ${n}+1$?", "solution": "...", "answer": str(n + 1), "subject": "Algebra",
     "level": n % 5 + 1, "unique_id": f"test/algebra/{n}.json"}
    for n in range(20)
]  # fmt: skip
GSM8K = [
    {"question": "Tom has 1,000 apples and buys 200.", "answer": "1000+200=<<1>>\n#### 1,200"},
    {"question": "Ann has 3.", "answer": "She has 3.\n#### 3"},
]


def publish(root: Path) -> dict[str, str]:
    """Every benchmark as a copy of its repository would lie in a folder."""
    item = ("decoded_image",)
    many = tuple(f"image_{n}" for n in range(1, 8))
    write(root / "vista/data/testmini-00000-of-00001-ab.parquet", MATHVISTA, item)
    write(root / "vista/data/test-00000-of-00001-cd.parquet", MATHVISTA[:1], item)
    write(root / "vision/data/testmini-00000-of-00001.parquet", MATHVISION, item)
    write(root / "verse/testmini.parquet", MATHVERSE, ("image",))
    write(root / "verse/testmini_text_only.parquet", MATHVERSE[:1], ("image",))
    for config, rows in MMMU.items():
        write(root / f"mmmu/{config}/validation-00000-of-00001.parquet", rows, many)
        write(root / f"mmmu/{config}/dev-00000-of-00001.parquet", rows, many)
    for config, rows in BLINK.items():
        write(root / f"blink/{config}/val-00000-of-00001.parquet", rows, many[:4])
        write(root / f"blink/{config}/test-00000-of-00001.parquet", rows, many[:4])
    write(root / "hallusion/data/image-00000-of-00001.parquet", HALLUSIONBENCH, ("image",))
    write(root / "cv/test_2d.parquet", CVBENCH[:2], ("image",))
    write(root / "cv/test_3d.parquet", CVBENCH[2:], ("image",))
    write(root / "gsm/main/test-00000-of-00001.parquet", GSM8K, ())
    write(root / "gsm/socratic/test-00000-of-00001.parquet", GSM8K, ())
    import json

    (root / "math").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in MATH500)
    (root / "math/test.jsonl").write_text(lines)
    names = {"mathvista": "vista", "mathvision": "vision", "mathverse": "verse", "mmmu": "mmmu",
             "blink": "blink", "hallusionbench": "hallusion", "cvbench": "cv", "gsm8k": "gsm",
             "math500": "math"}  # fmt: skip
    return {name: str(root / folder) for name, folder in names.items()}
