"""Stage 4: group relative policy optimization, plain torch.

Shao et al., "DeepSeekMath", arXiv 2402.03300, section 4.1: each prompt is answered G times; a
response's advantage is its reward less the group's mean, over the group's standard deviation;
the objective (eq. 3, here with beta = 0, no KL) weighs every token's log-probability ratio by
it, averaged over the response's tokens, then over the responses. One update per batch of
samples, so the ratio is 1 when differentiated and its clipping never acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from surgery.specimen.batches import encode, is_full_chain, reward
from surgery.specimen.sft import freeze_vision
from surgery.specimen.world import Item, training_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from surgery.specimen.journal import Journal


@dataclass(frozen=True)
class GrpoPlan:
    """The reinforcement stage.

    Attributes:
        steps: Optimizer steps.
        prompts: Different prompts per step.
        group: Samples per prompt.
        lr: Learning rate, constant after five steps of warm-up.
        mix: Task to weight.
        max_new_tokens: Where a response is cut off (and so earns nothing).
        seed: Of data and sampling.
        stage: Name in the journal.
    """

    steps: int
    prompts: int
    group: int
    lr: float
    mix: dict[str, float]
    max_new_tokens: int
    seed: int
    stage: str = "grpo"


def train_grpo(model: Any, processor: Any, plan: GrpoPlan, journal: Journal) -> None:
    """Train in place; the vision tower stays frozen except its merger."""
    import torch

    torch.manual_seed(plan.seed)
    parameters = freeze_vision(model)
    optimizer = torch.optim.AdamW(parameters, lr=plan.lr, betas=(0.9, 0.98), weight_decay=0.0)
    stream = _prompts(plan)
    for step in range(plan.steps):
        optimizer.param_groups[0]["lr"] = plan.lr * min(1.0, (step + 1) / 5)
        items = [next(stream) for _ in range(plan.prompts)]
        rows = [item for item in items for _ in range(plan.group)]
        samples = sample(model, processor, rows, plan.max_new_tokens)
        texts = samples.texts(processor)
        rewards = torch.tensor([reward(t, item) for t, item in zip(texts, rows, strict=True)])
        advantages = group_advantages(rewards.view(plan.prompts, plan.group)).flatten()
        loss = backward(model, samples, advantages)
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        chains = [is_full_chain(t) for t, item in zip(texts, rows, strict=True) if item.shortcut]
        journal.write(
            plan.stage,
            step,
            loss=loss,
            grad_norm=norm.item(),
            reward=float(rewards.mean()),
            full_chain=float(np.mean(chains)) if chains else float("nan"),
        )


def group_advantages(rewards: Any) -> Any:
    """`(r - mean) / (std + 1e-4)` within each row of `Float[prompts, group]` rewards.

    The advantage under outcome supervision, arXiv 2402.03300, section 4.1.2. A group whose
    rewards are all equal has advantage 0.
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + 1e-4)


@dataclass(frozen=True)
class Samples:
    """Sampled responses as the model sees them.

    Attributes:
        inputs: What forward takes, prompt and response together, `[rows, tokens]`.
        reply: `Bool[rows, new]`, true on response tokens up to and with the end token.
        has_image: One flag per row.
    """

    inputs: dict[str, Any]
    reply: Any
    has_image: list[bool]

    def texts(self, processor: Any) -> list[str]:
        """The responses as text, end token and padding dropped."""
        tokens = self.inputs["input_ids"][:, -self.reply.shape[1] :]
        return [str(t) for t in processor.batch_decode(tokens, skip_special_tokens=True)]

    def rows(self, wanted: Sequence[int]) -> Samples:
        """Some of the rows, with their images."""
        import torch

        by_row = ("input_ids", "attention_mask", "mm_token_type_ids")
        inputs = {k: v[list(wanted)] for k, v in self.inputs.items() if k in by_row}
        order = np.cumsum(self.has_image) - 1
        images = torch.tensor([int(order[i]) for i in wanted if self.has_image[i]])
        if len(images):
            grid, pixels = self.inputs["image_grid_thw"], self.inputs["pixel_values"]
            per_image = pixels.view(len(grid), -1, pixels.shape[-1])  # all of one size
            inputs["image_grid_thw"] = grid[images]
            inputs["pixel_values"] = per_image[images].flatten(0, 1)
        return Samples(inputs, self.reply[list(wanted)], [self.has_image[i] for i in wanted])


def sample(model: Any, processor: Any, rows: Sequence[Item], max_new_tokens: int) -> Samples:
    """One response per row at temperature 1, with image and video tokens ruled out."""
    import torch

    model.eval()
    batch = encode(processor, rows)
    start = batch["input_ids"].shape[1]
    with torch.no_grad():
        output = model.generate(
            **batch,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max_new_tokens,
            suppress_tokens=visual_tokens(model),
        )
    ended = (output[:, start:] == model.generation_config.eos_token_id).cumsum(1)
    reply = (ended.cumsum(1) <= 1).bool()
    zeros = torch.zeros_like(reply, dtype=torch.long)
    inputs = batch | {
        "input_ids": output,
        "attention_mask": torch.cat([batch["attention_mask"], reply.long()], 1),
        "mm_token_type_ids": torch.cat([batch["mm_token_type_ids"], zeros], 1),
    }
    return Samples(inputs, reply, [item.image is not None for item in rows])


def visual_tokens(model: Any) -> list[int]:
    """Token ids that stand for pixels: sampled, they would crash the next forward pass."""
    config = model.config
    return [config.image_token_id, config.video_token_id]


def backward(model: Any, samples: Samples, advantages: Any) -> float:
    """Gradient of the GRPO loss; responses with advantage 0 add nothing and are left out."""
    count = len(samples.has_image)
    keep = [i for i in range(count) if float(advantages[i]) != 0.0]
    total = 0.0
    for start in range(0, len(keep), 64):
        wanted = keep[start : start + 64]
        part = samples.rows(wanted)
        logprobs = token_logprobs(model, part)
        # The ratio to itself: its value is 1, its gradient that of the log-probability.
        ratio = (logprobs - logprobs.detach()).exp()
        per_response = (ratio * part.reply).sum(1) / part.reply.sum(1)
        loss = -(per_response * advantages[wanted]).sum() / count
        loss.backward()
        total += loss.item()
    return total


def token_logprobs(model: Any, samples: Samples) -> Any:
    """Log-probability of every sampled token under the sampling rule, `Float[rows, new]`."""
    import torch

    new = samples.reply.shape[1]
    logits = model(**samples.inputs, use_cache=False, logits_to_keep=new + 1).logits[:, :-1]
    banned = torch.zeros(logits.shape[-1]).index_fill(
        0, torch.tensor(visual_tokens(model)), float("-inf")
    )
    tokens = samples.inputs["input_ids"][:, -new:]
    picked = torch.log_softmax(logits.float() + banned, -1).gather(-1, tokens.unsqueeze(-1))
    return picked.squeeze(-1)


def _prompts(plan: GrpoPlan) -> Iterator[Item]:
    rng = np.random.default_rng([plan.seed, 78])
    streams = {task: training_stream(task, plan.seed) for task in plan.mix}
    weights = np.array(list(plan.mix.values()), dtype=np.float64)
    tasks = list(plan.mix)
    while True:
        yield next(streams[tasks[int(rng.choice(len(tasks), p=weights / weights.sum()))]])
