"""The README's Hugging Face model with LoRA is what it says, and trains as a loop of transformers and peft does."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from flspec import compile, load_spec, run
from flspec.core.randomness import Stream
from flspec.data.store import open_data
from flspec.errors import SpecError
from flspec.execution.parts import bytes_per_client
from flspec.protocol.plan import Plan
from tests.command_line import flspec
from tests.first_round import first_round
from tests.published import declare_operators_if_absent
from tests.test_readme import README

SECTION = README.partition("### Hugging Face and LoRA\n")[2].partition("\n### ")[0]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # which peft asks for
FILES = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```", SECTION, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def tweets(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The README's files in a folder beside a base that `save_pretrained` wrote; its part; and its plan."""
    declare_operators_if_absent()  # transformers imports torchvision where it finds it
    folder = tmp_path_factory.mktemp("tweets")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    part: Any = ModuleType("tweets")
    exec(FILES["tweets.py"], vars(part))
    torch.manual_seed(8)
    base = part.Tweets(202, 2, 4).model.unload()  # the model without its adapters
    base.save_pretrained(folder)
    return SimpleNamespace(folder=folder, part=part, plan=compile(folder / "tweets.yaml"))


def built(tweets: SimpleNamespace, tensors: dict[str, np.ndarray]) -> Any:
    module = tweets.part.Tweets(202, 2, 4)
    module.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in tensors.items()}, strict=False)
    return module.train()


def trained(tweets: SimpleNamespace, mask_padding: bool = True) -> dict[str, np.ndarray]:
    """The adapters and the classifier after the first round, by the loss of transformers itself and torch's SGD."""
    plan: Plan = tweets.plan
    train, cohort = open_data(plan.settings.data).train, plan.cohort(1)
    total = sum(task.weight for task in cohort)
    mean: dict[str, Any] = dict.fromkeys(plan.weights, 0.0)
    for task in cohort:
        module = built(tweets, plan.weights | plan.constants)
        optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
        for number, batch in enumerate(task.batches):
            seed = Stream(task.seed, "step", number).child("module", "module").words(1)[0] >> np.uint64(1)
            tokens = torch.from_numpy(train.inputs(batch)).long()
            mask = (tokens != 0).long() if mask_padding else torch.ones_like(tokens)
            optimizer.zero_grad()
            torch.manual_seed(int(seed))
            labels = torch.from_numpy(train.labels[batch])
            module.model(input_ids=tokens, attention_mask=mask, labels=labels).loss.backward()
            optimizer.step()
        after = {name: value.detach().double().numpy() for name, value in module.named_parameters()}
        mean = {name: mean[name] + task.weight / total * after[name] for name in mean}
    return mean


def far(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in one if not np.allclose(one[name], other[name], atol=1e-6)]


def test_only_adapters_and_the_classifier_are_sent(tweets: SimpleNamespace) -> None:
    plan = tweets.plan
    assert all("lora_" in name or "modules_to_save" in name for name in plan.weights)
    adapters, dense = 2 * 2 * (4 * 32 + 32 * 4), (32 * 32 + 32) + (2 * 32 + 2)  # two in each of two blocks
    expected = 4 * (adapters + dense)
    assert bytes_per_client(plan) == (expected, expected)


def test_the_base_is_in_the_plan_as_its_file_has_it(tweets: SimpleNamespace) -> None:
    file = load_file(tweets.folder / "model.safetensors")
    base = {name: value for name, value in tweets.plan.constants.items() if "classifier" not in name}
    module = tweets.part.Tweets(202, 2, 4)
    assert {module.pretrained_name(name) for name in base} == {n for n in file if "classifier" not in n}
    assert all(np.array_equal(value, file[module.pretrained_name(name)]) for name, value in base.items())


def test_the_plan_in_the_readme_is_what_is_shown(tweets: SimpleNamespace) -> None:
    done = flspec(tweets.folder, "plan", "tweets.yaml", COLUMNS="100")
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^    ( .*)$", SECTION.rpartition("```")[2], flags=re.MULTILINE)
    assert len(shown) == 3
    printed = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert all(" ".join(line.split()) in printed for line in shown), done.stdout


def test_a_run_sends_as_much_as_the_plan_says(tweets: SimpleNamespace, tmp_path: Path) -> None:
    result = run(tweets.plan, backend="local", out=tmp_path / "run")
    each = bytes_per_client(tweets.plan)[0]
    assert [(one.bytes_down, one.bytes_up) for one in result.rounds] == [(5 * each, 5 * each)] * 3
    after = load_file(tmp_path / "run" / result.weights.path)
    assert {name for name in after if not np.array_equal(after[name], tweets.plan.constants.get(name, 0))} == {
        *tweets.plan.weights
    }


def test_a_vocabulary_that_is_too_small_is_refused_when_the_spec_is_compiled(tweets: SimpleNamespace) -> None:
    spec = load_spec(tweets.folder / "tweets.yaml", ["model.arguments.vocabulary=20", "model.pretrained=null"])
    with pytest.raises(SpecError, match=r"model\.module: .*forward raised IndexError: index out of range"):
        compile(spec)


def test_a_round_is_that_of_transformers_own_loss_with_the_planned_seeds(tweets: SimpleNamespace) -> None:
    after = first_round(tweets.plan)
    assert far(after, trained(tweets)) == []
    assert far(after, tweets.plan.weights)
    assert far(after, trained(tweets, mask_padding=False))
