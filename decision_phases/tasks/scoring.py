"""How an option is scored: by a letter, by its first token, or by its whole text."""

import numpy as np
from jaxtyping import Float

from decision_phases.errors import InputError, unknown_name
from decision_phases.tasks.question import QuestionSet
from decision_phases.tasks.sequences import EncodedQuestions

SCORINGS = ("letter", "first_token", "cloze", "cloze_mean", "cloze_char", "cloze_pmi")
"""letter: logit of the option's symbol; first_token: logit of the option's first token; cloze:
log-probability of the option's text; cloze_mean: that per token; cloze_char: that per character; cloze_pmi:
that minus the log-probability after the cue alone."""


def find_scoring(questions: QuestionSet, scoring: str | None) -> str:
    """Return the scoring to use: the one given, else the question set's own.

    Raises:
        InputError: If the name is unknown, or none is given and the set has none.

    Example:
        >>> from decision_phases.tasks import Question
        >>> find_scoring(QuestionSet("q", (Question(("a", "b"), 0, "?"),)), "cloze")
        'cloze'
    """
    chosen = scoring if scoring is not None else questions.scoring
    if chosen is None:
        raise InputError(
            f"question set {questions.name!r} has no scoring of its own; "
            f"give scoring= one of {', '.join(SCORINGS)}."
        )
    if chosen not in SCORINGS:
        raise unknown_name("scoring", chosen, SCORINGS)
    return chosen


def is_cloze(scoring: str) -> bool:
    """Return whether the scoring reads the whole text of each option."""
    return scoring.startswith("cloze")


def cloze_scores(
    logprob_sum: Float[np.ndarray, "sequence layer"], encoded: EncodedQuestions
) -> Float[np.ndarray, "question layer option"]:
    r"""Return the score of each option from the summed log-probabilities of its tokens.

    With :math:`s = \sum_t \log p(o_t \mid \text{prompt}, o_{<t})`: `cloze` is :math:`s`, `cloze_mean` is
    :math:`s` per token, `cloze_char` is :math:`s` per character of the option without its leading space
    (acc_norm of lm-evaluation-harness), `cloze_pmi` is :math:`s` minus the same sum after the cue alone
    (Holtzman et al. 2021, "Surface form competition", section 3.2).

    Args:
        logprob_sum: Sum over the targets of each sequence, in nats, in the order of `encoded.sequences`.
        encoded: What was run.

    Returns:
        Scores in nats (per token or character where so scaled); NaN where a question has fewer options.

    Raises:
        InputError: If the scoring is not a cloze scoring or the number of rows is another.

    Example:
        >>> import numpy as np
        >>> from decision_phases.tasks import Question, TokenSequence
        >>> item = Question(("no", "maybe"), 0, "?")
        >>> runs = tuple(TokenSequence((1, 2), (0,), (2,), owner=0, option=i) for i in range(2))
        >>> encoded = EncodedQuestions(
        ...     QuestionSet("q", (item,)), "cloze_char", runs, (), np.array([0]), np.array([2]), ((2, 5),),
        ...     "question_answer", 0, False, (), False)
        >>> cloze_scores(np.array([[-1.0], [-2.0]]), encoded)
        array([[[-0.5, -0.4]]])
    """
    if not is_cloze(encoded.scoring):
        raise InputError(
            f"scoring {encoded.scoring!r} reads tokens, not texts; cloze_scores is for cloze scorings."
        )
    if len(logprob_sum) != len(encoded.sequences):
        raise InputError(
            f"{len(logprob_sum)} rows of log-probabilities for {len(encoded.sequences)} sequences; "
            "expected one row per sequence."
        )
    shape = (len(encoded), logprob_sum.shape[1], int(encoded.n_options.max()))
    scores = np.full(shape, np.nan)
    baseline = np.zeros(shape)
    for sequence, total in zip(encoded.sequences, logprob_sum.astype(np.float64), strict=True):
        scale = 1.0
        if encoded.scoring == "cloze_mean":
            scale = len(sequence.targets)
        elif encoded.scoring == "cloze_char":
            scale = encoded.option_chars[sequence.owner][sequence.option]
        goal = baseline if sequence.unconditional else scores
        goal[sequence.owner, :, sequence.option] = total / scale
    return scores - baseline
