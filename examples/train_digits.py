"""Train the two small networks whose weights ship with tesela, on scikit-learn's 8 x 8 handwritten digits.

    lenet5      LeNet-5 (LeCun et al., 1998) with tanh and average pooling: which digit is it?
    denoiser    convolutional autoencoder: takes Gaussian noise away

Run, with PyTorch and scikit-learn installed (neither is needed to *use* the weights):

    python examples/train_digits.py               # trains both, measures them on the test part, writes --out
    python examples/train_digits.py --validate    # for trying changes: holds out a fifth of the training part instead

The test part is a stratified quarter of the digits. It is measured once, after the last epoch, and decides nothing:
every setting below was chosen inside the training part, as --validate does, which writes no file.

--out receives lenet5_digits.npz and denoiser_digits.npz (float32, PyTorch's parameter names) and their README.md.
"""

import argparse
import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import sklearn
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SIGMA = 0.3  # of the noise that the denoiser removes; clean pixels are in 0..1
BATCH = 32
WEIGHTS = Path(__file__).resolve().parents[1] / "python" / "tesela" / "pretrained"

# ------------------------------------------------------------------------------------------------ networks


def lenet5():
    """(N, 1, 32, 32) -> (N, 10) logits; 61,706 parameters."""
    return nn.Sequential(OrderedDict([
        ("conv1", nn.Conv2d(1, 6, 5)), ("tanh1", nn.Tanh()), ("pool1", nn.AvgPool2d(2)),
        ("conv2", nn.Conv2d(6, 16, 5)), ("tanh2", nn.Tanh()), ("pool2", nn.AvgPool2d(2)),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(400, 120)), ("tanh3", nn.Tanh()),
        ("fc2", nn.Linear(120, 84)), ("tanh4", nn.Tanh()),
        ("fc3", nn.Linear(84, 10)),
    ]))  # fmt: skip


def denoiser():
    """(N, 1, 32, 32) noisy, in 0..1 -> the same shape, clean; 52,129 parameters."""
    return nn.Sequential(OrderedDict([
        ("conv1", nn.Conv2d(1, 32, 3, stride=2, padding=1)), ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(32, 64, 3, stride=2, padding=1)), ("relu2", nn.ReLU()),
        ("deconv1", nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1)), ("relu3", nn.ReLU()),
        ("deconv2", nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1)), ("sigmoid", nn.Sigmoid()),
    ]))  # fmt: skip


# ------------------------------------------------------------------------------------------------ data


def preprocess(images):
    """(N, 8, 8) with values 0..16 -> (N, 1, 32, 32) float32 in 0..1, each pixel a 4 x 4 block."""
    return np.kron(images / 16, np.ones((4, 4)))[:, None].astype(np.float32)


def add_noise(x, seed):
    """The noise of every reported PSNR; NumPy draws it, so that it can be repeated without PyTorch."""
    noise = np.random.default_rng(seed).standard_normal(x.shape, dtype=np.float32)
    return np.clip(x + np.float32(SIGMA) * noise, 0, 1)


def augment(x):
    """(N, 1, 32, 32) of 4 x 4 blocks -> the same, each digit turned, scaled and shifted a little on its 8 x 8 grid."""
    n = len(x)
    angle = torch.empty(n).uniform_(-12, 12) * math.pi / 180
    scale = torch.empty(n).uniform_(0.9, 1.1)
    shift = torch.empty(n, 2).uniform_(-0.2, 0.2)  # 1 is half the image: less than one of its 8 pixels
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    theta = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1).view(n, 2, 3)
    grid = F.affine_grid(theta, (n, 1, 8, 8), align_corners=False)
    small = F.grid_sample(x[:, :, ::4, ::4], grid, align_corners=False)
    return small.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


# ------------------------------------------------------------------------------------------------ training


def train(net, loss_of_batch, size, epochs, peak):
    """AdamW with a one-cycle learning rate; the weights of the last epoch are the result."""
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    steps = epochs * math.ceil(size / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=steps)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for index in torch.randperm(size).split(BATCH):
            loss = loss_of_batch(index)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(index)
        if epoch % 10 == 0 or epoch == epochs:
            print(f"  epoch {epoch:3d}  loss {total / size:.5f}", flush=True)


def train_lenet5(x, label, epochs, seed):
    torch.manual_seed(seed)
    net = lenet5()

    def loss(index):
        batch = augment(x[index])
        return F.cross_entropy(net(batch + 0.05 * torch.randn_like(batch)), label[index])

    train(net, loss, len(x), epochs, peak=4e-3)
    return net.eval()


def train_denoiser(x, epochs, seed):
    torch.manual_seed(seed)
    net = denoiser()

    def loss(index):
        clean = x[index]  # no augment(): it would blur the target; the noise is new each time anyway
        return F.mse_loss(net((clean + SIGMA * torch.randn_like(clean)).clamp(0, 1)), clean)

    train(net, loss, len(x), epochs, peak=1e-2)
    return net.eval()


# ------------------------------------------------------------------------------------------------ report


def psnr(a, b):
    """In dB, of all images at once: the peak is 1, the error is the mean over every pixel."""
    return -10 * math.log10(np.mean((a.astype(np.float64) - b) ** 2))


def save(net, path):
    arrays = {name: value.numpy().astype(np.float32) for name, value in net.state_dict().items()}
    np.savez(path, **arrays)
    print(f"wrote {path.name}: {sum(a.size for a in arrays.values()):,} parameters, {path.stat().st_size:,} bytes")


CARD = """\
# Weights trained on handwritten digits

This page is written by `examples/train_digits.py` together with the weights; its numbers are what that run printed.

| file | network | parameters | held-out test digits |
|---|---|---|---|
| `lenet5_digits.npz` | LeNet-5, tanh, average pooling | {lenet5_size:,} | {accuracy} |
| `denoiser_digits.npz` | convolutional denoising autoencoder | {denoiser_size:,} | {denoised} |

**Data.** `sklearn.datasets.load_digits`: 1,797 grey images of 8 x 8 pixels, values 0..16. The split is
`train_test_split(test_size=0.25, random_state=0, stratify=y)`: {train} images to train, {test} to test. The test images
were measured once, after the last epoch; settings were chosen on held-out parts of the training images. Thirteen people
wrote all of these digits and the split does not keep them apart: expect less for new writers or other ways to crop.

**Input.** `np.kron(images / 16, np.ones((4, 4)))[:, None].astype(np.float32)`: (N, 1, 32, 32), in 0..1, ink is 1.
LeNet-5 returns ten logits. The denoiser takes the same images after `np.clip(x + {sigma} * noise, 0, 1)` with normal
noise and returns them clean. For the numbers here the noise of the test images, in the order of the split, is
`np.random.default_rng({seed}).standard_normal(x.shape, dtype=np.float32)`. PSNR is
`-10 * log10(mean((a - b)**2))` over all test pixels. For comparison, the mean of each 4 x 4 block of the noisy image,
which uses how the input was made: {blocks}.

**Made by** `{command}`, on the CPU in one thread: AdamW, one-cycle
learning rate, new noise in every epoch, for LeNet-5 also small turns, scalings and shifts; weights of the last epoch.
Versions: {versions}.
A run with the same versions repeats these weights; another processor may round differently.

**Format.** float32 arrays under PyTorch's parameter names (`conv1.weight`, ...), for
`np.load(path, allow_pickle=False)`.

**Licence.** The weights were trained by this project and come under its licence. The images are the test part of
E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998,
[doi:10.24432/C50P49](https://doi.org/10.24432/C50P49), CC BY 4.0; none of them is in these files.
"""


def main():
    parser = argparse.ArgumentParser(description="Train LeNet-5 and a denoising autoencoder on scikit-learn's digits.")
    parser.add_argument("--epochs", type=int, default=100, help="for each network (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and noise (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder to write to (default: the package's weights)")
    parser.add_argument("--validate", action="store_true", help="hold out a fifth of the training part; write nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)  # one thread adds in one order, so a run can be repeated to the bit
    torch.use_deterministic_algorithms(True)

    images, label = load_digits(return_X_y=True)
    x = preprocess(images.reshape(-1, 8, 8))
    x, x_test, label, label_test = train_test_split(x, label, test_size=0.25, random_state=0, stratify=label)
    part = "test"
    if args.validate:
        x, x_test, label, label_test = train_test_split(x, label, test_size=0.2, random_state=1, stratify=label)
        part = "validation"

    print(f"lenet5: {len(x)} training digits")
    classifier = train_lenet5(torch.from_numpy(x), torch.from_numpy(label), args.epochs, args.seed)
    print(f"denoiser: {len(x)} training digits")
    autoencoder = train_denoiser(torch.from_numpy(x), args.epochs, args.seed)

    noisy = add_noise(x_test, args.seed)
    with torch.no_grad():
        right = int((classifier(torch.from_numpy(x_test)).argmax(1).numpy() == label_test).sum())
        clean = autoencoder(torch.from_numpy(noisy)).numpy()
    block_mean = np.kron(noisy.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)), np.ones((4, 4)))[:, None]
    accuracy = f"{100 * right / len(x_test):.2f} % right ({right} of {len(x_test)})"
    denoised = f"PSNR {psnr(noisy, x_test):.2f} dB noisy, {psnr(clean, x_test):.2f} dB denoised"
    blocks = f"PSNR {psnr(block_mean, x_test):.2f} dB"
    print(f"lenet5, {part}: {accuracy}")
    print(f"denoiser, {part}: {denoised}; mean of each 4 x 4 block: {blocks}")
    if args.validate:
        return

    args.out.mkdir(parents=True, exist_ok=True)
    save(classifier, args.out / "lenet5_digits.npz")
    save(autoencoder, args.out / "denoiser_digits.npz")
    card = CARD.format(
        accuracy=accuracy, denoised=denoised, blocks=blocks, train=len(x), test=len(x_test), sigma=SIGMA,
        seed=args.seed, command=f"python examples/train_digits.py --epochs {args.epochs} --seed {args.seed}",
        lenet5_size=sum(p.numel() for p in classifier.parameters()),
        denoiser_size=sum(p.numel() for p in autoencoder.parameters()),
        versions=f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, numpy {np.__version__}",
    )  # fmt: skip
    (args.out / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
