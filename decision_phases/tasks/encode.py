"""Questions to token sequences, with every problem found before a model runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from decision_phases.errors import InputError, unknown_name
from decision_phases.tasks.prompts import PromptTemplate, Rendered, find_symbols, find_template
from decision_phases.tasks.question import Question, QuestionSet
from decision_phases.tasks.scoring import find_scoring, is_cloze
from decision_phases.tasks.sequences import EncodedQuestions, TokenSequence
from decision_phases.tasks.shots import draw_examples
from decision_phases.tasks.tokenise import Tokenizer, Tokens, continuation, pieces_of, tokenise


def check_settings(given: Iterable[str], *, asked: bool = True) -> None:
    """Refuse settings of questions that there are not, or that nothing would use.

    Args:
        given: Names, as handed on to `encode_questions`.
        asked: Whether questions are asked at all.

    Raises:
        InputError: Naming the setting.

    Example:
        >>> check_settings(["shots", "template"])
    """
    known = {"scoring", "shots", "template", "symbols", "show_options", "examples", "seed"}
    for name in given:
        if name not in known:
            raise unknown_name("argument", name, known)
    names = ", ".join(given)
    if names and not asked:
        msg = f"{names} can be set for questions only, and texts were given; leave {names} out"
        raise InputError(msg)


def encode_questions(
    questions: QuestionSet,
    tokenizer: Tokenizer | None,
    *,
    scoring: str | None = None,
    shots: int = 0,
    template: str | PromptTemplate | None = None,
    symbols: str | Sequence[str] = "letters",
    show_options: bool | None = None,
    examples: QuestionSet | None = None,
    context_length: int | None = None,
    seed: int = 0,
) -> EncodedQuestions:
    """Return the questions as token sequences under a scoring.

    Prompt and reply are tokenised together, and the prompt's tokens must be the beginning of the result. The
    reply is one space and the option's text, or its symbol in letter scoring. The tokenizer's own BOS rule
    holds. A verbatim prompt gets no template; under `cloze_pmi` the cue alone stands in for it.

    Args:
        questions: The questions.
        tokenizer: A Hugging Face tokenizer.
        scoring: One of `SCORINGS`; the set's own by default.
        shots: Number of solved examples in front; see `draw_examples` for which.
        template: A name or a template; by default the set's own, or "question_answer" where options are
            shown and the set's own has no cue.
        symbols: The options' symbols; see `find_symbols`.
        show_options: Whether options stand in the prompt; by default only in letter scoring.
        examples: Where the solved examples come from; the questions themselves by default.
        context_length: Longest sequence that the model takes.
        seed: Seed of the draw of examples.

    Raises:
        InputError: If there is no tokenizer, the scoring is missing or unknown, a symbol is not one token,
            two options begin with the same token (first_token) or have the same tokens, a prompt is longer
            than `context_length`, or prompt and option cannot be told apart in tokens.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import PreTrainedTokenizerFast
        >>> from decision_phases.tasks import Question
        >>> vocabulary = {"?": 0, "one": 1, "two": 2, "Answer": 3, ":": 4}
        >>> words = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
        >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?")
        >>> some = QuestionSet("some", (Question(("one", "two"), 1, prompt="Answer:"),))
        >>> encoded = encode_questions(some, tokenizer, scoring="first_token")
        >>> encoded.sequences[0].tokens, encoded.option_ids
        ((3, 4), ((1, 2),))
    """
    if tokenizer is None:
        raise InputError("the model has no tokenizer, so questions cannot be put to it; give a tokenizer.")
    plan = _plan(questions, scoring, template, symbols, show_options=show_options)
    prompts = _prompts(questions, plan, draw_examples(questions, shots, seed=seed, pool=examples))
    table = _tokenise_all(questions, plan, prompts, tokenizer)
    if is_cloze(plan.scoring):
        sequences = tuple(_cloze_sequences(questions, plan, prompts, table, tokenizer))
        option_ids: tuple[tuple[int, ...], ...] = ()
    else:
        sequences = tuple(
            _prompt_sequence(index, prompt, table[prompt.text]) for index, prompt in enumerate(prompts)
        )
        option_ids = tuple(_option_ids(questions, plan, prompts, table, tokenizer))
    _check_lengths(questions, sequences, context_length)
    bos = tokenizer.bos_token_id
    return EncodedQuestions(
        questions=questions,
        scoring=plan.scoring,
        sequences=sequences,
        option_ids=option_ids,
        gold=np.array([item.answer for item in questions], dtype=np.int64),
        n_options=np.array([len(item.options) for item in questions], dtype=np.int64),
        option_chars=tuple(tuple(map(len, item.options)) for item in questions),
        template=plan.template.name,
        shots=shots,
        show_options=plan.show_options,
        symbols=plan.symbols if plan.scoring == "letter" else (),
        bos=bos is not None and all(sequence.tokens[0] == bos for sequence in sequences),
        pieces=pieces_of(chain(*option_ids, *((*s.tokens, *s.targets) for s in sequences)), tokenizer),
    )


@dataclass(frozen=True)
class _Plan:
    """The settings of one encoding, all resolved."""

    scoring: str
    template: PromptTemplate
    symbols: tuple[str, ...]
    show_options: bool

    @property
    def prompt_symbols(self) -> tuple[str, ...]:
        """The symbols that the prompt writes."""
        return self.symbols if self.scoring == "letter" else ()

    def replies(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """What follows the prompt for each option, with the one leading space."""
        texts = self.symbols if self.scoring == "letter" else options
        return tuple(f" {text}" for text in texts[: len(options)])


def _plan(
    questions: QuestionSet,
    scoring: str | None,
    template: str | PromptTemplate | None,
    symbols: str | Sequence[str],
    *,
    show_options: bool | None,
) -> _Plan:
    """Resolve every default."""
    chosen = find_scoring(questions, scoring)
    show = chosen == "letter" if show_options is None else show_options
    if show_options and any(item.prompt is not None for item in questions):
        raise InputError(
            "show_options=True, but there are verbatim prompts, to which nothing is added; "
            "write the options into the prompts, or give question= instead of prompt=."
        )
    form = find_template(questions.template if template is None else template)
    if template is None and show and not form.cue:
        form = find_template("question_answer")
    most = max(len(item.options) for item in questions)
    found = find_symbols(symbols, most) if chosen == "letter" else ()
    return _Plan(chosen, form, found, show)


def _prompts(questions: QuestionSet, plan: _Plan, examples: Sequence[tuple[Question, ...]]) -> list[Rendered]:
    """Render every prompt with its solved examples in front."""
    rendered = []
    prefaces: dict[tuple[Question, ...], str] = {}
    for item, solved in zip(questions, examples, strict=True):
        if solved not in prefaces:
            prefaces[solved] = plan.template.preface(
                [
                    plan.template.solved(
                        example,
                        reply=plan.replies(example.options)[example.answer].strip(),
                        symbols=plan.prompt_symbols,
                        show_options=plan.show_options,
                    )
                    for example in solved
                ]
            )
        prompt = plan.template.render(item, symbols=plan.prompt_symbols, show_options=plan.show_options)
        rendered.append(prompt.after(prefaces[solved]))
    return rendered


def _tokenise_all(
    questions: QuestionSet, plan: _Plan, prompts: Sequence[Rendered], tokenizer: Tokenizer
) -> Mapping[str, Tokens]:
    """Tokenise every prompt, and every prompt with every reply, once."""
    joints = [
        prompt.text + reply
        for item, prompt in zip(questions, prompts, strict=True)
        for reply in plan.replies(item.options)
    ]
    table = dict(tokenise(joints, tokenizer))
    if plan.scoring == "cloze_pmi":
        cue = plan.template.cue
        alone = [cue] + [cue + reply for item in questions for reply in plan.replies(item.options)]
        table.update(tokenise(alone, tokenizer))
        if not table[cue].ids:
            raise InputError(
                f"cloze_pmi needs a prompt without the question, but template {plan.template.name!r} has no "
                'cue and the tokenizer no BOS token; choose a template with a cue, such as "question_answer".'
            )
    table.update(tokenise([prompt.text for prompt in prompts], tokenizer, offsets=True))
    return table


def _spans(prompt: Rendered, tokens: Tokens) -> dict[str, tuple[int, int]]:
    """Token ranges of the prompt's parts, as far as the tokenizer knows them, and of its last token."""
    found = {name: tokens.span(start, stop) for name, (start, stop) in prompt.spans.items()}
    spans = {name: span for name, span in found.items() if span is not None}
    return spans | {"answer": (len(tokens.ids) - 1, len(tokens.ids))}


def _prompt_sequence(owner: int, prompt: Rendered, tokens: Tokens) -> TokenSequence:
    """The sequence of a prompt that is read out at its last token."""
    return TokenSequence(tokens.ids, (len(tokens.ids) - 1,), (), owner, spans=_spans(prompt, tokens))


def _added(
    questions: QuestionSet,
    index: int,
    text: str,
    reply: str,
    table: Mapping[str, Tokens],
    tokenizer: Tokenizer,
) -> tuple[int, ...]:
    """The tokens that a reply adds to a text."""
    return continuation(
        table[text],
        table[text + reply],
        where=f"question {questions.label(index)}",
        text=text,
        reply=reply,
        eos=tokenizer.eos_token_id,
    )


def _option_ids(
    questions: QuestionSet,
    plan: _Plan,
    prompts: Sequence[Rendered],
    table: Mapping[str, Tokens],
    tokenizer: Tokenizer,
) -> list[tuple[int, ...]]:
    """The one token that stands for each option of each question."""
    rows = []
    for index, (item, prompt) in enumerate(zip(questions, prompts, strict=True)):
        ids: dict[int, str] = {}
        for reply in plan.replies(item.options):
            added = _added(questions, index, prompt.text, reply, table, tokenizer)
            if plan.scoring == "letter" and len(added) != 1:
                raise InputError(
                    f'question {questions.label(index)}: option "{reply}" is {len(added)} tokens for this '
                    'tokenizer; letter scoring needs one. Use scoring="cloze", or other labels.'
                )
            if added[0] in ids:
                token = tokenizer.convert_ids_to_tokens(added[0])
                raise InputError(
                    f'question {questions.label(index)}: options "{ids[added[0]]}" and "{reply}" share '
                    f"the first token {token!r} (id {added[0]}), so {plan.scoring} scoring cannot tell "
                    'them apart. Use scoring="cloze", or other options.'
                )
            ids[added[0]] = reply
        rows.append(tuple(ids))
    return rows


def _cloze_sequences(
    questions: QuestionSet,
    plan: _Plan,
    prompts: Sequence[Rendered],
    table: Mapping[str, Tokens],
    tokenizer: Tokenizer,
) -> list[TokenSequence]:
    """The sequences that predict each option's text, and for PMI those that do so after the cue alone."""
    sequences = []
    for index, (item, prompt) in enumerate(zip(questions, prompts, strict=True)):
        kinds = [(prompt, False)]
        if plan.scoring == "cloze_pmi":
            kinds.append((Rendered(plan.template.cue, {}), True))
        for part, unconditional in kinds:
            spans = _spans(part, table[part.text])
            size = len(table[part.text].ids)
            seen: dict[tuple[int, ...], str] = {}
            for option, reply in enumerate(plan.replies(item.options)):
                added = _added(questions, index, part.text, reply, table, tokenizer)
                if added in seen:
                    raise InputError(
                        f'question {questions.label(index)}: options "{seen[added]}" and "{reply}" are the '
                        f"same tokens {added} for this tokenizer and cannot be told apart; use other options."
                    )
                seen[added] = reply
                read = tuple(range(size - 1, size + len(added) - 1))
                tokens = table[part.text].ids + added
                sequences.append(TokenSequence(tokens, read, added, index, option, spans, unconditional))
    return sequences


def _check_lengths(
    questions: QuestionSet, sequences: Sequence[TokenSequence], context_length: int | None
) -> None:
    """Refuse sequences longer than the model's context."""
    for sequence in sequences:
        if context_length is not None and len(sequence) > context_length:
            what = f"the prompt with option {sequence.option}" if sequence.option >= 0 else "the prompt"
            raise InputError(
                f"question {questions.label(sequence.owner)}: {what} is {len(sequence)} tokens long, "
                f"the model takes {context_length}; use fewer shots, or shorten or leave out the question."
            )
