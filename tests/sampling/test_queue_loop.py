"""The peer that streams are measured against is the model, and draws as one does."""

import torch
from queue_loop import QueueLoop, is_the_model

from leadline import zoo


def test_the_loop_over_queues_is_the_model() -> None:
    torch.manual_seed(0)
    specimen = zoo.build("wavenet", layers=3, stacks=2, channels=5, skip=4, head=6, classes=7, length=30)
    model = specimen.model.eval()
    assert is_the_model(model, specimen.inputs[0][:1])
    QueueLoop(model).generate(3)
    with torch.no_grad():
        model.blocks[1].conv.weight.mul_(2)
    assert is_the_model(model, specimen.inputs[0][:1])
