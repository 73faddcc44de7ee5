"""Squared difference of values by hand: L = sum_b w_b 1/V sum_v (s - t)^2, so dL/ds = 2 w_b (s - t) / V."""

from tests.reference.case import Answer, Case


def answer(case: Case) -> Answer:
    w = case.weight / case.weight.sum()
    B, V = case.student.logits.shape
    value, gradient = 0.0, 0 * case.student.logits
    for b in range(B):
        for v in range(V):
            d = float(case.student.logits[b, v] - case.teacher.logits[b, v])
            value += w[b] * d * d / V
            gradient[b, v] = 2 * w[b] * d / V
    return Answer(float(value), {"logits": gradient})
