import pytest
import torch

from adamantine import engine


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small tensors: threads cost more than they give, and far more where another process wants the cores."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "cores", lambda: 1)
        yield
