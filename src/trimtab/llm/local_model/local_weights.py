"""Weights of a local language model, with adapters: answers to messages, piece by piece."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import DataError, nearest
from trimtab.lazy_library import LazyLibrary
from trimtab.llm.local_model.local_request import Ended, LocalRequest, NoSuchModel, before_stop

if TYPE_CHECKING:
    import jinja2
    import peft
    import torch
    import transformers
else:
    jinja2, peft = LazyLibrary("jinja2"), LazyLibrary("peft")
    torch, transformers = LazyLibrary("torch"), LazyLibrary("transformers")


class LocalModel:
    """A causal language model in memory. Safe in threads: it answers one request at a time.

    Args:
        base: folder with weights and tokenizer, as transformers saves them; its name is the model's name.
        adapters: folders as peft saves them; their names are names of models, too.

    Raises:
        DataError: two names are the same, or a folder cannot be loaded.
    """

    def __init__(self, base: Path, adapters: Sequence[Path] = ()) -> None:
        names = [folder.name for folder in (base, *adapters)]
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"two folders are named '{name}'; a model is asked for by the name of its folder")
        torch.set_num_threads(1)  # more are slower on cores that others use, too
        self.names = names
        self._adapters = {folder.name: str(number) for number, folder in enumerate(adapters)}
        self._tokenizer = load_tokenizer(base)
        self._model = load_model(base)
        for folder in adapters:
            if not (folder / "adapter_config.json").is_file():
                raise DataError(f"{folder} holds no adapter: adapter_config.json is missing")
            if isinstance(self._model, peft.PeftModel):
                self._model.load_adapter(str(folder), adapter_name=self._adapters[folder.name])
            else:
                self._model = peft.PeftModel.from_pretrained(self._model, str(folder), self._adapters[folder.name])
        self._model.eval()
        self._lock = threading.Lock()

    def answer(self, request: LocalRequest) -> Iterator[str | Ended]:
        """Give the pieces of an answer, then its end. Closing the iterator ends the work within one token.

        Raises:
            NoSuchModel: the name is unknown.
            DataError: the messages do not fit the model's template, or its context.
        """
        if request.model not in self.names:
            raise NoSuchModel(f"the model '{request.model}' does not exist.{nearest(request.model, self.names)}")
        inputs = self._tokens(request.messages)
        read = int(inputs["input_ids"].shape[1])
        context = int(self._model.config.max_position_embeddings)
        most = min(request.most_tokens or context, context - read)
        if most < 1:
            raise DataError(f"the messages are {read} tokens; the model reads and writes {context} together")
        with self._lock:
            self._choose(request.model)
            work = _Generating(self._model, self._tokenizer, inputs, most, request)
            try:
                yield from before_stop(work.pieces, request.stops)
            finally:
                work.end()
        yield Ended(
            finish_reason="stop" if work.stopped or work.written < most else "length",
            input_tokens=read,
            output_tokens=work.written,
        )

    def _tokens(self, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        try:
            return dict(
                self._tokenizer.apply_chat_template(
                    [{**each, "content": _text(each.get("content"))} for each in messages],
                    add_generation_prompt=True,
                    return_tensors="pt",
                    return_dict=True,
                )
            )
        except (jinja2.TemplateError, KeyError, TypeError) as error:
            raise DataError(f"the messages do not fit the model's template: {error}") from None

    def _choose(self, name: str) -> None:
        if not isinstance(self._model, peft.PeftModel):
            return
        if name in self._adapters:
            self._model.base_model.enable_adapter_layers()
            self._model.set_adapter(self._adapters[name])
        else:
            self._model.base_model.disable_adapter_layers()


class _Generating:
    """One answer that a thread writes. pieces: its text. After `end`: written, in tokens; stopped: not by the limit."""

    def __init__(self, model: Any, tokenizer: Any, inputs: Mapping[str, Any], most: int, request: LocalRequest) -> None:
        self._model, self._tokenizer, self._inputs = model, tokenizer, inputs
        self._request = request
        self._read = inputs["input_ids"].shape[1]
        self._left = threading.Event()
        self._failure: BaseException | None = None
        self.written, self.stopped = 0, False
        self._streamer = transformers.TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        warm = 1.0 if request.temperature is None else request.temperature
        self._options: dict[str, Any] = {"max_new_tokens": most, "do_sample": warm > 0}
        if warm > 0:
            self._options |= {"temperature": warm, "top_p": request.top_p or 1.0, "top_k": 0}
        self._thread = threading.Thread(target=self._write, name="local-model", daemon=True)
        self._thread.start()

    @property
    def pieces(self) -> Iterator[str]:
        """Raises what the thread met."""
        yield from self._streamer
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Ask the thread to stop after the token at work, and wait for it."""
        self._left.set()
        self._thread.join()

    def _write(self) -> None:
        try:
            if self._request.seed is None:
                torch.seed()
            else:
                torch.manual_seed(self._request.seed)
            self._model.generate(
                **self._inputs,
                **self._options,
                streamer=self._streamer,
                stopping_criteria=transformers.StoppingCriteriaList([self._is_over]),
                pad_token_id=self._tokenizer.eos_token_id,
            )
        except BaseException as error:  # raised again where the pieces are read
            self._failure = error
        finally:
            self._streamer.end()

    def _is_over(self, ids: Any, scores: Any, **others: Any) -> Any:
        """Count each token, and end at a stop text or when the reader has left."""
        new = ids[0, self._read :]
        self.written = len(new)
        stops = self._request.stops
        if int(new[-1]) == self._tokenizer.eos_token_id:
            self.stopped = True
        elif stops:
            text = self._tokenizer.decode(new, skip_special_tokens=True)
            self.stopped = any(stop in text for stop in stops)
        return torch.tensor([self.stopped or self._left.is_set()], device=ids.device)


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer in a folder. Raises DataError."""
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} holds no model: config.json is missing")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not tokenizer.chat_template:
        raise DataError(f"{folder} has no chat template; take the model that was tuned for instructions")
    return tokenizer


def load_model(folder: Path) -> Any:
    """Return the weights in a folder, in 32 bits."""
    transformers.utils.logging.disable_progress_bar()
    return transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)


def _text(content: Any) -> str:
    """Return the text of a message, whose content may be a list of parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
