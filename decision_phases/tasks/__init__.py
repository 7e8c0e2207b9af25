"""Questions, prompts, scorings and texts: what is put to a model, as token sequences. No model in here."""

from decision_phases.tasks.encode import check_settings, encode_questions
from decision_phases.tasks.open_prompts import OpenPrompts, encode_prompts
from decision_phases.tasks.passages import BUNDLED_PASSAGES, Query, RetrievalSet, read_passages
from decision_phases.tasks.prompts import SYMBOL_SETS, TEMPLATES, PromptTemplate, find_symbols, find_template
from decision_phases.tasks.question import Question, QuestionSet
from decision_phases.tasks.scoring import SCORINGS, cloze_scores, find_scoring, is_cloze
from decision_phases.tasks.sequences import EncodedQuestions, TokenSequence
from decision_phases.tasks.shots import draw_examples
from decision_phases.tasks.sources import BUNDLED, HUB_QUESTIONS, questions, read_questions
from decision_phases.tasks.text_sources import HUB_TEXTS, texts
from decision_phases.tasks.textset import TextSet
from decision_phases.tasks.tokenise import Tokenizer, check_pieces
from decision_phases.tasks.windows import encode_texts

__all__ = [
    "BUNDLED",
    "BUNDLED_PASSAGES",
    "HUB_QUESTIONS",
    "HUB_TEXTS",
    "SCORINGS",
    "SYMBOL_SETS",
    "TEMPLATES",
    "EncodedQuestions",
    "OpenPrompts",
    "PromptTemplate",
    "Query",
    "Question",
    "QuestionSet",
    "RetrievalSet",
    "TextSet",
    "TokenSequence",
    "Tokenizer",
    "check_pieces",
    "check_settings",
    "cloze_scores",
    "draw_examples",
    "encode_prompts",
    "encode_questions",
    "encode_texts",
    "find_scoring",
    "find_symbols",
    "find_template",
    "is_cloze",
    "questions",
    "read_passages",
    "read_questions",
    "texts",
]
