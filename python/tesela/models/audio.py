"""Networks that listen: to a spectrogram as to an image, or to the wave itself along one axis."""

from ..graph import Graph
from ..network import Network


def vggish(weights=None, seed=0) -> Network:
    """(N, 1, 96, 64) -> (N, 128) embeddings "embeddings.5" of 0.96 s of sound each; 72,141,184 parameters.

    Hershey et al., "CNN architectures for large-scale audio classification", 2017: vgg11 without its last stage. The
    input is a log-mel spectrogram of 96 frames, 25 ms each and 10 ms apart, in 64 bands: tesela.audio.VGGISH. Names are
    those of torchvggish, where values are flattened with the channels last as in TensorFlow's original.
    """
    g = Graph("vggish")
    x, layer = g.input("log_mel", (1, 96, 64)), 0
    for width, depth in ((64, 1), (128, 1), (256, 2), (512, 2)):
        for _ in range(depth):
            x = g.conv2d(f"features.{layer}", x, width, 3, padding=1, activation="relu")
            layer += 2
        x = g.max_pool2d(f"features.{layer}", x, kernel_size=2)
        layer += 1
    x = g.flatten("flatten", g.transpose("channels_last", x, axes=(0, 2, 3, 1)))
    for layer, width in ((0, 4096), (2, 4096), (4, 128)):
        x = g.relu(f"embeddings.{layer + 1}", g.linear(f"embeddings.{layer}", x, width))
    g.output(x)
    return Network(g, weights, seed=seed)


def m5(num_classes=10, widths=(128, 128, 256, 512), stride=4, samples=32000, weights=None, seed=0) -> Network:
    """(N, 1, 1, samples) -> (N, num_classes) logits; 559,114 parameters.

    Dai, Dai, Qu, Li and Das, "Very deep convolutional neural networks for raw waveforms", 2017, table 1: filters of 80
    samples hear 10 ms of a wave at 8 kHz, as a spectrogram would; pooling by four after each layer, then the mean over
    time, so that image_size may be (1, any other number of samples). PyTorch's tutorial on speech commands has
    m5(35, (32, 32, 64, 64), 16, 8000), with 26,915 parameters, and these names. A line is a plane one pixel high here:
    weights of Conv1d get that axis, weight[:, :, None].
    """
    g = Graph("m5")
    x = g.input("waveform", (1, 1, samples))
    for i, width in enumerate(widths, 1):
        kernel, step = (80, stride) if i == 1 else (3, 1)
        x = g.conv2d(f"conv{i}", x, width, (1, kernel), stride=(1, step))
        x = g.batch_norm(f"bn{i}", x, activation="relu")
        x = g.max_pool2d(f"pool{i}", x, kernel_size=(1, 4))
    x = g.flatten("flatten", g.global_avg_pool2d("avg_pool", x))
    g.output(g.linear("fc1", x, num_classes))
    return Network(g, weights, seed=seed)
