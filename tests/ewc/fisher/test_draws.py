import torch

from pipeline.ewc.fisher.draws import signs, uniforms

KEYS = torch.tensor([0, 1, 7, 1 << 40])


def test_draws_belong_to_the_example_and_not_to_the_batch() -> None:
    together = uniforms(3, 0, KEYS, (4, 2))
    apart = torch.cat([uniforms(3, 0, key.reshape(1), (4, 2)) for key in KEYS.flip(0)]).flip(0)
    assert torch.equal(together, apart)
    assert torch.equal(uniforms(3, 0, KEYS, (2, 2)), together[:, :2])


def test_seed_stream_and_key_each_change_the_draws() -> None:
    base = uniforms(3, 0, KEYS, (50,))
    for other in (uniforms(4, 0, KEYS, (50,)), uniforms(3, 1, KEYS, (50,)), uniforms(3, 0, KEYS + 1, (50,))):
        assert not bool((other == base).any())


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    u = uniforms(0, 0, torch.arange(400), (50,))
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    counts = torch.histc(u.float(), 20, 0, 1)
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 50  # chi-squared, 19 degrees: 1 in 8,000
    centred = u - 0.5
    for a, b in ((centred[:, 1:], centred[:, :-1]), (centred[1:], centred[:-1])):
        assert abs(float((a * b).mean())) < 4 / 12 / 20_000**0.5


def test_signs_are_balanced_and_independent_across_words() -> None:
    s = signs(0, 0, torch.arange(300), (70,), torch.float64)
    assert s.shape == (300, 70)
    assert set(s.flatten().tolist()) == {-1.0, 1.0}
    assert abs(float(s.mean())) < 4 / 21_000**0.5
    products = (s.T @ s) / 300 - torch.eye(70, dtype=torch.float64)
    assert float(products.abs().max()) < 5.5 / 300**0.5
