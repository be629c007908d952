"""EWC in a Trainer that is not ours."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from pipeline import EwcCallback
from pipeline.errors import ArtifactCorrupt


class Line(nn.Module):
    """y = w x + b over two inputs, with its squared error."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[0.5, -0.5]]))
            self.linear.bias.zero_()

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.linear(x)[:, 0] - y).square().mean()}


ROWS = [{"x": torch.tensor([float(i % 3), 1.0]), "y": torch.tensor(2.0)} for i in range(8)]


def trained(folder: Path, *, fisher: dict[str, Tensor] | None, lambda_: float = 1.0, **named: Any) -> Line:
    model = Line()
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, num_train_epochs=20, per_device_train_batch_size=8, learning_rate=0.05,
        report_to="none", disable_tqdm=True, save_strategy="no", seed=1, max_grad_norm=0.0, optim="sgd",
        lr_scheduler_type="constant", dataloader_pin_memory=False, logging_strategy="no",
    )  # fmt: skip
    callbacks = [EwcCallback(model, fisher, lambda_, **named)] if fisher is not None else []
    Trainer(model, arguments, train_dataset=ROWS, callbacks=callbacks).train()
    return model


def by_hand(fisher: dict[str, Tensor] | None, lambda_: float) -> Line:
    """Twenty steps of gradient descent on the whole batch, the penalty's gradient by autograd."""
    model, held = Line(), Line()
    x, y = (torch.stack([row[name] for row in ROWS]) for name in ("x", "y"))
    for _ in range(20):
        model.zero_grad()
        loss = model(x, y)["loss"]
        for name, weight in (fisher or {}).items():
            mean = torch.cat([f.flatten() for f in (fisher or {}).values()]).mean()
            moved = model.get_parameter(name) - held.get_parameter(name).detach()
            loss = loss + lambda_ * (weight / mean * moved.square()).sum()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.05 * parameter.grad)
    return model


FISHER = {"linear.weight": torch.tensor([[3.0, 1.0]]), "linear.bias": torch.tensor([2.0])}


@pytest.mark.parametrize("fisher", [None, FISHER, {"linear.weight": torch.tensor([[3.0, 1.0]])}])
def test_any_trainer_descends_the_loss_with_the_penalty(
    tmp_path: Path, fisher: dict[str, Tensor] | None
) -> None:
    found, expected = trained(tmp_path, fisher=fisher, lambda_=0.7), by_hand(fisher, 0.7)
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), parameter, rtol=1e-4, atol=1e-5)


def test_a_strong_penalty_holds_the_weights_it_names(tmp_path: Path) -> None:
    model = trained(tmp_path, fisher={"linear.weight": torch.ones(1, 2)}, lambda_=1e6, form="proximal")
    torch.testing.assert_close(model.linear.weight, Line().linear.weight, rtol=0, atol=1e-4)
    assert model.linear.bias.item() > 0.5


def test_a_fisher_of_another_model_or_of_nothing_is_refused() -> None:
    with pytest.raises(KeyError, match="encoder"):
        EwcCallback(Line(), {"encoder": torch.ones(1)}, 1.0)
    with pytest.raises(ArtifactCorrupt, match="no positive entry"):
        EwcCallback(Line(), {"linear.bias": torch.zeros(1)}, 1.0)
