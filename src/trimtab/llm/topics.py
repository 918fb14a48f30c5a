"""Topics of texts: the nearest of up to 31 centres of the reference texts, or `other` for a text unlike all of them.

Texts become vectors by `tfidf`: words, hashed, weighted by how rare they are in the reference, projected on its main
directions (latent semantic analysis, Deerwester et al. 1990). The length of a text counts its unknown words, too, so a
text of unknown words is near the origin. Or by the sentence embeddings of MiniLM, with the extra `embeddings`.

Centres: k-means of the directions of the vectors (Dhillon & Modha 2001). The distance of a text is 1 - its product with
the nearest centre. `other` begins beyond the 99th percentile of the distances of reference texts, each measured by what
texts of other folds give, since texts are nearer to centres that were made of them.
"""

from __future__ import annotations

import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from trimtab.errors import DataError, MissingExtra
from trimtab.lazy_library import LazyLibrary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from scipy import sparse
    from sklearn import cluster, decomposition

    Floats = npt.NDArray[np.float32]
else:
    np, sparse = LazyLibrary("numpy"), LazyLibrary("scipy.sparse")
    cluster, decomposition = LazyLibrary("sklearn.cluster"), LazyLibrary("sklearn.decomposition")

Embed = Literal["tfidf", "all-minilm-l6-v2"]
QUESTION_TOPICS, ANSWER_TOPICS = "reference/topics.npz", "reference/answer_topics.npz"
"""Files of a bundle."""
CENTRES = 31
TEXTS_A_CENTRE = 5
"""With fewer reference texts there are fewer centres."""
BUCKETS = 1 << 15
"""Words share buckets by their CRC-32."""
DIRECTIONS = 64
FOLDS = 10
OTHER = "other"
OTHER_QUANTILE = 0.99
DECIMALS = 4
"""Of distances, so that equal texts are equally far."""
MOST_CHARS = 2_000
"""Characters of a text that count."""
MOST_TEXTS = 5_000
"""Reference texts that topics are made of; of more, evenly spread ones."""
FEWEST_TEXTS = 20
NAMED_BY = 3
"""Words in the name of a topic."""
NAMED_FROM = 5
"""A word that fewer reference texts have names no topic: it may say something of one person."""
_WORD = re.compile(r"[^\W_]{2,}")


class Placed(NamedTuple):
    """Topics of texts, (n,) each."""

    code: Floats
    """Place in `Topics.names`; NaN where there is no text."""
    distance: Floats
    """To the nearest centre; NaN where there is no text."""


@dataclass(frozen=True)
class Vectors:
    """Turns texts into vectors. Of "tfidf", `columns` are the buckets that the reference has, `idf` their weights."""

    embed: Embed
    columns: npt.NDArray[np.int64]
    idf: Floats
    projection: Floats
    """(columns, directions)."""

    @classmethod
    def fit(cls, texts: Sequence[str], *, embed: Embed, seed: int) -> Vectors:
        """Return the vectors for reference texts."""
        if embed != "tfidf":
            empty = np.zeros(0, np.float32)
            return cls(embed, np.zeros(0, np.int64), empty, empty)
        counted = [_buckets(text) for text in texts]
        having = Counter(bucket for counts in counted for bucket in counts)
        columns = np.array(sorted(having), np.int64)
        idf = _idf(np.array([having[int(column)] for column in columns]), len(texts))
        unfitted = cls(embed, columns, idf, np.zeros((len(columns), 0), np.float32))
        places, values, ends = unfitted._weighted(counted, len(texts))
        matrix = sparse.csr_matrix((values, places, ends), shape=(len(texts), len(columns)))
        directions = min(DIRECTIONS, min(matrix.shape) - 1)
        if directions < 1:
            raise DataError("the reference texts hold too few words for topics")
        svd = decomposition.TruncatedSVD(directions, random_state=seed).fit(matrix)
        return cls(embed, columns, idf, np.ascontiguousarray(svd.components_.T, np.float32))

    def of(self, texts: Sequence[str], reference_texts: int) -> Floats:
        """Return the vectors, (n, directions). reference_texts: how many the reference had."""
        if self.embed != "tfidf":
            return minilm(texts)
        places, values, ends = self._weighted([_buckets(text) for text in texts], reference_texts)
        found = np.zeros((len(texts), self.projection.shape[1]), np.float32)
        for row, (start, end) in enumerate(pairwise(ends.tolist())):
            found[row] = values[start:end] @ self.projection[places[start:end]]
        return found

    def _weighted(self, counted: Sequence[Counter[int]], reference_texts: int) -> tuple[Any, Any, Any]:
        """Return the known columns, their weights, and where each text ends. A weight is divided by the length of the
        whole text, whose unknown words weigh most."""
        unknown = float(_idf(np.zeros(1), reference_texts)[0])
        places, values, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)], [0]
        for counts in counted:
            buckets = np.array(sorted(counts), np.int64)
            weights = 1.0 + np.log(np.array([counts[int(bucket)] for bucket in buckets], np.float64).clip(1.0))
            at = np.searchsorted(self.columns, buckets)
            known = at < len(self.columns)
            known[known] = self.columns[at[known]] == buckets[known]
            weights = weights * np.where(known, self.idf[np.where(known, at, 0)] if len(self.idf) else 0.0, unknown)
            norm = float(np.sqrt((weights**2).sum())) or 1.0
            places.append(at[known])
            values.append((weights[known] / norm).astype(np.float32))
            ends.append(ends[-1] + int(known.sum()))
        return np.concatenate(places), np.concatenate(values), np.array(ends, np.int64)


@dataclass(frozen=True)
class Topics:
    """Topics of reference texts. `to_bytes` and `from_bytes` carry them over in a bundle.

    names: of the topics in the order of their codes, `other` last.
    """

    vectors: Vectors
    centres: Floats
    """(centres, directions)."""
    limit: float
    """A text whose distance is larger is `other`."""
    names: tuple[str, ...]
    texts: int
    """Reference texts that they were made of."""

    @classmethod
    def fit(cls, texts: Sequence[str | None], *, embed: Embed = "tfidf", seed: int = 0) -> tuple[Topics | None, Placed]:
        """Return the topics of reference texts, None where fewer than FEWEST_TEXTS are known, and where each text lies.

        A text that topics are made of is placed by what the texts of the other folds give, as new ones are; one that
        comes more than once by all texts, as the next one like it is.
        """
        known = np.array([n for n, text in enumerate(texts) if text and text.strip()], np.int64)
        nothing = np.full(len(texts), np.nan, np.float32)
        if len(known) < FEWEST_TEXTS:
            return None, Placed(nothing, nothing)
        if len(known) > MOST_TEXTS:
            known = known[np.linspace(0, len(known) - 1, MOST_TEXTS).astype(int)]
        chosen = [(texts[n] or "")[:MOST_CHARS] for n in known]
        vectors = Vectors.fit(chosen, embed=embed, seed=seed)
        matrix = vectors.of(chosen, len(chosen))
        centres = _centres(matrix, seed)
        label, itself = _nearest(matrix, centres)
        nearest, apart = _cross_fitted(chosen, label, len(centres), embed, seed)
        copies = Counter(chosen)
        repeated = np.array([copies[text] > 1 for text in chosen])
        nearest[repeated], apart[repeated] = label[repeated], itself[repeated]
        limit = float(np.quantile(apart, OTHER_QUANTILE, method="higher"))
        found = cls(vectors, centres, limit, (*_names(chosen, label, len(centres)), OTHER), len(chosen))
        placed = found.place(texts)
        placed.code[known] = np.where(apart > limit, len(centres), nearest)
        placed.distance[known] = apart
        return found, placed

    def place(self, texts: Sequence[str | None]) -> Placed:
        """Return code and distance of each text; None where its text is not known."""
        code, distance = np.full(len(texts), np.nan, np.float32), np.full(len(texts), np.nan, np.float32)
        known = np.array([text is not None for text in texts], bool)
        if known.any():
            given = [text[:MOST_CHARS] for text in texts if text is not None]
            nearest, apart = _nearest(self.vectors.of(given, self.texts), self.centres)
            code[known] = np.where(apart > self.limit, len(self.centres), nearest)
            distance[known] = apart
        return Placed(code, distance)

    def to_bytes(self) -> bytes:
        """Return the content of a file .npz."""
        found = io.BytesIO()
        np.savez_compressed(
            found,
            embed=np.array(self.vectors.embed),
            columns=self.vectors.columns,
            idf=self.vectors.idf,
            projection=self.vectors.projection,
            centres=self.centres,
            limit=np.array(self.limit),
            names=np.array(self.names),
            texts=np.array(self.texts),
        )
        return found.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Topics:
        """Read what `to_bytes` wrote. Raises DataError."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                vectors = Vectors(str(file["embed"]), file["columns"], file["idf"], file["projection"])  # type: ignore[arg-type]  # as written
                names, texts = tuple(str(name) for name in file["names"]), int(file["texts"])
                return cls(vectors, file["centres"], float(file["limit"]), names, texts)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"not topics: {error}") from None


@dataclass(frozen=True)
class TurnTopics:
    """Topics of the turns of a prompt: of what was asked, and of what was answered; None with too few texts."""

    question: Topics | None = None
    answer: Topics | None = None

    @classmethod
    def read(cls, folder: Path) -> TurnTopics:
        """Return the topics in the folder of a bundle. Raises DataError."""
        paths = [folder / path for path in (QUESTION_TOPICS, ANSWER_TOPICS)]
        return cls(*(Topics.from_bytes(path.read_bytes()) if path.is_file() else None for path in paths))


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, of two letters or digits and more."""
    return _WORD.findall(text.lower())


def minilm(texts: Sequence[str]) -> Floats:
    """Return sentence embeddings of all-MiniLM-L6-v2, (n, 384), of length 1. Raises MissingExtra."""
    found: Floats = _minilm().encode(list(texts), normalize_embeddings=True)
    return found


@cache
def _minilm() -> Any:
    try:
        library = import_module("sentence_transformers")
    except ImportError:
        raise MissingExtra("sentence-transformers", "embeddings") from None
    return library.SentenceTransformer("all-MiniLM-L6-v2")


def _centres(matrix: Floats, seed: int) -> Floats:
    distinct = len(np.unique(matrix.round(6), axis=0))
    count = max(1, min(CENTRES, len(matrix) // TEXTS_A_CENTRE, distinct))
    found = cluster.KMeans(count, n_init=3, random_state=seed).fit(_unit(matrix))
    return _unit(found.cluster_centers_.astype(np.float32))


def _cross_fitted(
    texts: Sequence[str], label: npt.NDArray[np.int64], centres: int, embed: Embed, seed: int
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return topic and distance of each text by vectors and centres of the other folds' texts.

    label: topic of each text by all of them, so that the centres of a fold are those of the same topics.
    """
    fold = np.random.default_rng(seed).permutation(len(texts)) % FOLDS
    nearest, apart = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.float32)
    for each in range(FOLDS):
        rest = [text for text, of in zip(texts, fold, strict=True) if of != each]
        vectors = Vectors.fit(rest, embed=embed, seed=seed)
        matrix, of_rest = _unit(vectors.of(rest, len(rest))), label[fold != each]
        sums = np.zeros((centres, matrix.shape[1]), np.float32)
        np.add.at(sums, of_rest, matrix)
        held_out = [text for text, of in zip(texts, fold, strict=True) if of == each]
        nearest[fold == each], apart[fold == each] = _nearest(vectors.of(held_out, len(rest)), _unit(sums))
    return nearest, apart


def _unit(matrix: Floats) -> Floats:
    found: Floats = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    return found


def _nearest(matrix: Floats, centres: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    alike = matrix @ centres.T
    nearest = alike.argmax(axis=1)
    return nearest, (1.0 - alike[np.arange(len(matrix)), nearest]).astype(np.float32).round(DECIMALS)


def _buckets(text: str) -> Counter[int]:
    return Counter(zlib.crc32(word.encode()) % BUCKETS for word in words_of(text))


def _idf(having: npt.NDArray[Any], texts: int) -> Floats:
    """Return log((1 + n) / (1 + texts that have it)) + 1, as scikit-learn smooths it."""
    found: Floats = (np.log((1.0 + texts) / (1.0 + having)) + 1.0).astype(np.float32)
    return found


def _names(texts: Sequence[str], place: npt.NDArray[np.int64], centres: int) -> list[str]:
    """Return a name for each topic: the words that its texts have more often than all texts do."""
    words = [set(words_of(text)) for text in texts]
    everywhere = Counter(word for of in words for word in of)
    names = list[str]()
    for centre in range(centres):
        own = [of for of, at in zip(words, place, strict=True) if at == centre]
        here = Counter(word for of in own for word in of)
        lift = {
            word: count / len(own) - everywhere[word] / len(texts)
            for word, count in here.items()
            if everywhere[word] >= NAMED_FROM and not word.isdigit()
        }
        best = sorted(lift, key=lambda word: (-lift[word], word))[:NAMED_BY]
        name = " ".join(best) or f"topic {centre + 1}"
        names.append(name if name not in names else f"{name} {centre + 1}")
    return names
