"""The environment of one run, with the command that repeats it and the state of the spec's folder in git."""

from __future__ import annotations

from flspec.report.page import Facts, Listing, Paragraph, Section
from flspec.report.sections.environment import environment_section
from flspec.report.subject import Subject
from flspec.report.words import brief
from flspec.runs.git_state import GitState, load_git_state

__all__ = ["repeating_section"]


def repeating_section(subject: Subject) -> Section | None:
    """Return the section."""
    run = subject.runs[0]
    if run.result is None or run.folder is None:
        return None
    blocks = list(environment_section(subject).blocks)
    if described := subject.facts and subject.facts.described:
        caption = (
            "Commands that repeat it, with these versions and the same data; the first says what came out the same"
        )
        blocks.append(Listing(caption, "\n".join(described.commands)))
    if run.result.privacy and run.result.privacy.secret_noise:
        blocks.append(Paragraph("No other run repeats its noise, which followed from a key of its own.", "unsure"))
    return Section("Environment", [*blocks, Facts(_in_git(load_git_state(run.folder)), "Where the spec came from")])


def _in_git(state: GitState | None) -> list[tuple[str, str]]:
    if state is None:
        return [("git", "the spec was in no repository of git, or the run was begun from a plan")]
    changed = {
        True: "files of the spec's folder had been changed since, or were not in it",
        False: "nothing in the spec's folder had been changed since",
        None: "whether files had been changed since is not known",
    }[state.is_dirty]
    return [("commit", brief(state.commit)), ("when it began", changed)]
