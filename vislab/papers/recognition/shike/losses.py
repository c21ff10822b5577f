"""What the experts learn from each other (section 3.3): mutual distillation, and a teacher made of all of them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

RELEASED_MASK = -30.0
"""What the released code adds to the right class's logit; a cosine classifier's own logits can be as low."""


def divergence(
    teacher: Float[Tensor, "batch classes"], student: Float[Tensor, "batch classes"], reduction: str = "elements"
) -> Float[Tensor, ""]:
    """KL of the student's softmax from the teacher's, from logits.

    "elements" divides by batch times classes, which is what the weights 1 and 10 of the released code belong to; "items" by the batch.
    """
    target = teacher.softmax(dim=1)
    total = F.kl_div(student.log_softmax(dim=1), target, reduction="sum")
    return total / (target.numel() if reduction == "elements" else len(target))


def mutual_loss(logits: Float[Tensor, "batch expert classes"], reduction: str = "elements") -> Float[Tensor, ""]:
    """Sum of the divergence over all ordered pairs of experts (eq. 4)."""
    experts = range(logits.shape[1])
    pairs = [(i, j) for i in experts for j in experts if i != j]
    return sum((divergence(logits[:, j], logits[:, i], reduction) for i, j in pairs), logits.new_zeros(()))


def hardest_negative(
    logits: Float[Tensor, "batch expert classes"], label: Int[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """The wrong class with the highest mean logit."""
    return logits.mean(dim=1).scatter(1, label[:, None], -torch.inf).argmax(dim=1)


def grand_teacher(
    logits: Float[Tensor, "batch expert classes"], label: Int[Tensor, " batch"], damped: bool = True
) -> Float[Tensor, "batch classes"]:
    """The teacher's logits of the wrong classes (eqs. 6 to 8): the highest of the experts, but of the hardest negative the mean.

    The right class has minus infinity; without `damped` the hardest negative keeps the highest logit too.
    """
    teacher = logits.max(dim=1).values
    if damped:
        hardest = hardest_negative(logits, label)[:, None]
        teacher = teacher.scatter(1, hardest, logits.mean(dim=1).gather(1, hardest))
    return teacher.scatter(1, label[:, None], -torch.inf)


def wrong_classes(values: Float[Tensor, "batch classes"], label: Int[Tensor, " batch"]) -> Float[Tensor, "batch rest"]:
    """The columns of all classes but the right one."""
    rest = torch.ones_like(values, dtype=torch.bool).scatter(1, label[:, None], False)
    return values[rest].reshape(len(values), -1)


def knowledge_loss(
    logits: Float[Tensor, "batch expert classes"],
    label: Int[Tensor, " batch"],
    damped: bool = True,
    reduction: str = "elements",
    released: bool = False,
) -> Float[Tensor, ""]:
    """Dynamic knowledge transfer: every expert's distribution over the wrong classes follows the grand teacher's (eq. 9).

    `released` masks as the authors' code does: the teacher's right class has the logit 0, the student's has -30.
    """
    teacher, experts = grand_teacher(logits, label, damped), logits.unbind(dim=1)
    if released:
        teacher = teacher.scatter(1, label[:, None], 0.0)
        experts = [student.scatter(1, label[:, None], RELEASED_MASK) for student in experts]
    else:
        teacher, experts = wrong_classes(teacher, label), [wrong_classes(student, label) for student in experts]
    return sum((divergence(teacher, student, reduction) for student in experts), logits.new_zeros(()))


def balanced(
    logits: Float[Tensor, "batch expert classes"], label: Int[Tensor, " batch"], counts: Int[Tensor, " classes"]
) -> Float[Tensor, ""]:
    """Balanced softmax (Ren et al. 2020), summed over experts: cross-entropy of the logits plus the log of the class counts."""
    return separate(logits + counts.to(logits).log(), label)


def separate(logits: Float[Tensor, "batch expert classes"], label: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Cross-entropy summed over experts."""
    return sum((F.cross_entropy(logits[:, k], label) for k in range(logits.shape[1])), logits.new_zeros(()))
