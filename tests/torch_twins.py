"""Networks of tesela.models written a second time in PyTorch, with the parameter names of the weights that exist."""

from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


def sequence(*layers):
    """Layers counted, or under names where they come as pairs."""
    return nn.Sequential(OrderedDict(layers)) if isinstance(layers[0], tuple) else nn.Sequential(*layers)


def conv(*args, **kwargs):
    return nn.Conv2d(*args, bias=False, **kwargs)


class Parallel(nn.Module):
    """The outputs of several branches, by name, side by side."""

    def __init__(self, **branches):
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.children()], 1)


def vgg11_bn():
    features, channels = [], 3
    for width in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
        if width == "M":
            features.append(nn.MaxPool2d(2))
        else:
            features += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
    classifier = sequence(nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
                          nn.Dropout(), nn.Linear(4096, 10))  # fmt: skip
    return sequence(("features", sequence(*features)), ("avgpool", nn.AdaptiveAvgPool2d(7)), ("flatten", nn.Flatten()),
                    ("classifier", classifier))  # fmt: skip


def googlenet():
    def basic(channels, out, kernel, **kwargs):
        return sequence(("conv", conv(channels, out, kernel, **kwargs)), ("bn", nn.BatchNorm2d(out, eps=0.001)),
                        ("relu", nn.ReLU()))  # fmt: skip

    def inception(channels, c1, r3, c3, r5, c5, proj):
        return Parallel(
            branch1=basic(channels, c1, 1),
            branch2=sequence(basic(channels, r3, 1), basic(r3, c3, 3, padding=1)),
            branch3=sequence(basic(channels, r5, 1), basic(r5, c5, 3, padding=1)),
            branch4=sequence(nn.MaxPool2d(3, 1, 1, ceil_mode=True), basic(channels, proj, 1)),
        )

    def pool(kernel):
        return nn.MaxPool2d(kernel, 2, ceil_mode=True)

    return sequence(
        ("conv1", basic(3, 64, 7, stride=2, padding=3)), ("maxpool1", pool(3)), ("conv2", basic(64, 64, 1)),
        ("conv3", basic(64, 192, 3, padding=1)), ("maxpool2", pool(3)),
        ("inception3a", inception(192, 64, 96, 128, 16, 32, 32)),
        ("inception3b", inception(256, 128, 128, 192, 32, 96, 64)), ("maxpool3", pool(3)),
        ("inception4a", inception(480, 192, 96, 208, 16, 48, 64)),
        ("inception4b", inception(512, 160, 112, 224, 24, 64, 64)),
        ("inception4c", inception(512, 128, 128, 256, 24, 64, 64)),
        ("inception4d", inception(512, 112, 144, 288, 32, 64, 64)),
        ("inception4e", inception(528, 256, 160, 320, 32, 128, 128)), ("maxpool4", pool(2)),
        ("inception5a", inception(832, 256, 160, 320, 32, 128, 128)),
        ("inception5b", inception(832, 384, 192, 384, 48, 128, 128)),
        ("avgpool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), ("fc", nn.Linear(1024, 10)),
    )  # fmt: skip


def squeezenet1_1():
    class Fire(nn.Module):
        def __init__(self, channels, squeezed):
            super().__init__()
            self.squeeze = nn.Conv2d(channels, squeezed, 1)
            self.expand1x1 = nn.Conv2d(squeezed, 4 * squeezed, 1)
            self.expand3x3 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)

        def forward(self, x):
            x = self.squeeze(x).relu()
            return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu()

    def pool():
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    features = sequence(nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), Fire(64, 16), Fire(128, 16), pool(), Fire(128, 32),
                        Fire(256, 32), pool(), Fire(256, 48), Fire(384, 48), Fire(384, 64), Fire(512, 64))  # fmt: skip
    classifier = sequence(nn.Dropout(), nn.Conv2d(512, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return sequence(("features", features), ("classifier", classifier), ("flatten", nn.Flatten()))


class Block(nn.Module):
    """relu(branch(x) + shortcut): convolutions (channels, kernel, stride, groups), the last one without ReLU."""

    def __init__(self, channels, convolutions, shortcut_kernel=1, dilation=1, excited=False):
        super().__init__()
        inner, step = channels, 1
        for i, (out, kernel, stride, groups) in enumerate(convolutions, 1):
            spread = dilation if kernel == 3 else 1
            layer = conv(inner, out, kernel, stride=stride, padding=spread * (kernel // 2), groups=groups,
                         dilation=spread)  # fmt: skip
            self.add_module(f"conv{i}", layer)
            self.add_module(f"bn{i}", nn.BatchNorm2d(out))
            inner, step = out, step * stride
        self.count = len(convolutions)
        if excited:
            self.se_module = sequence(("pool", nn.AdaptiveAvgPool2d(1)), ("fc1", nn.Conv2d(out, out // 16, 1)),
                                      ("relu", nn.ReLU()), ("fc2", nn.Conv2d(out // 16, out, 1)),
                                      ("sigmoid", nn.Sigmoid()))  # fmt: skip
        self.downsample = nn.Sequential()
        if (channels, step) != (out, 1):
            layer = conv(channels, out, shortcut_kernel, stride=step, padding=shortcut_kernel // 2)
            self.downsample.extend([layer, nn.BatchNorm2d(out)])

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y if i == 1 else y.relu()))
        if hasattr(self, "se_module"):
            y = y * self.se_module(y)
        return (y + self.downsample(x)).relu()


def stage(channels, width, depth, block, stride, dilations=None):
    blocks = []
    for i in range(depth):
        blocks.append(block(channels, width, stride if i == 0 else 1, dilations[min(i, 1)] if dilations else 1))
        channels = 4 * width
    return sequence(*blocks)


def residual(block, stem, channels=64, strides=(1, 2, 2, 2), dilations=(None,) * 4):
    layers = OrderedDict(stem)
    for i, (width, depth) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)):
        layers[f"layer{i + 1}"] = stage(channels, width, depth, block, strides[i], dilations[i])
        channels = 4 * width
    return nn.Sequential(layers)


def resnet_stem():
    return [("conv1", conv(3, 64, 7, stride=2, padding=3)), ("bn1", nn.BatchNorm2d(64)), ("relu", nn.ReLU()),
            ("maxpool", nn.MaxPool2d(3, 2, 1))]  # fmt: skip


def head(name, channels=2048):
    return [("avgpool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), (name, nn.Linear(channels, 10))]


def resnext50_32x4d():
    def block(channels, width, stride, dilation):
        return Block(channels, [(2 * width, 1, 1, 1), (2 * width, 3, stride, 32), (4 * width, 1, 1, 1)])

    return sequence(*residual(block, resnet_stem()).named_children(), *head("fc"))


def se_resnet50():
    def block(channels, width, stride, dilation):
        return Block(channels, [(width, 1, stride, 1), (width, 3, 1, 1), (4 * width, 1, 1, 1)], excited=True)

    layer0 = sequence(("conv1", conv(3, 64, 7, stride=2, padding=3)), ("bn1", nn.BatchNorm2d(64)), ("relu1", nn.ReLU()))
    stem = [("layer0", layer0), ("pool0", nn.MaxPool2d(3, 2, ceil_mode=True))]
    return sequence(*residual(block, stem).named_children(), *head("last_linear"))


def fcn_resnet50():
    def block(channels, width, stride, dilation):
        return Block(channels, [(width, 1, 1, 1), (width, 3, stride, 1), (4 * width, 1, 1, 1)], dilation=dilation)

    class FCN(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = residual(block, resnet_stem(), strides=(1, 2, 1, 1),
                                     dilations=((1, 1), (1, 1), (1, 2), (2, 4)))  # fmt: skip
            for name, channels in (("classifier", 2048), ("aux_classifier", 1024)):
                inner = channels // 4
                self.add_module(name, sequence(conv(channels, inner, 3, padding=1), nn.BatchNorm2d(inner), nn.ReLU(),
                                               nn.Dropout(0.1), nn.Conv2d(inner, 10, 1)))  # fmt: skip

        def forward(self, x):
            def resized(y):
                return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)

            y = self.backbone[:-1](x)
            return resized(self.classifier(self.backbone[-1](y))), resized(self.aux_classifier(y))

    return FCN()


def mobilenet_v2():
    def unit(channels, out, kernel=1, stride=1, groups=1):
        layer = conv(channels, out, kernel, stride=stride, padding=kernel // 2, groups=groups)
        return sequence(layer, nn.BatchNorm2d(out), nn.ReLU6())

    class Inverted(nn.Module):
        def __init__(self, channels, out, expansion, stride):
            super().__init__()
            hidden = channels * expansion
            layers = [unit(channels, hidden)] if expansion > 1 else []
            layers += [unit(hidden, hidden, 3, stride, hidden), conv(hidden, out, 1), nn.BatchNorm2d(out)]
            self.conv, self.adds = sequence(*layers), (channels, 1) == (out, stride)

        def forward(self, x):
            return x + self.conv(x) if self.adds else self.conv(x)

    features, channels = [unit(3, 32, 3, 2)], 32
    for t, c, n, s in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                       (6, 320, 1, 1)):  # fmt: skip
        for i in range(n):
            features.append(Inverted(channels, c, t, s if i == 0 else 1))
            channels = c
    features.append(unit(320, 1280))
    return sequence(("features", sequence(*features)), ("avgpool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()),
                    ("classifier", sequence(nn.Dropout(0.2), nn.Linear(1280, 10))))  # fmt: skip


def unet():
    def double(channels, out):
        layers = [conv(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(),
                  conv(out, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]  # fmt: skip
        return sequence(("double_conv", sequence(*layers)))

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.inc = double(3, 64)
            for i in range(1, 5):
                low, high = 32 << i, 64 << i
                self.add_module(f"down{i}", sequence(("maxpool_conv", sequence(nn.MaxPool2d(2), double(low, high)))))
                self.add_module(f"up{5 - i}", nn.ModuleDict({"up": nn.ConvTranspose2d(high, low, 2, 2),
                                                            "conv": double(high, low)}))  # fmt: skip
            self.outc = sequence(("conv", nn.Conv2d(64, 10, 1)))

        def forward(self, x):
            skipped = [self.inc(x)]
            for i in range(1, 5):
                skipped.append(getattr(self, f"down{i}")(skipped[-1]))
            x = skipped.pop()
            for i in range(1, 5):
                up = getattr(self, f"up{i}")
                x = up["conv"](torch.cat([skipped.pop(), up["up"](x)], 1))
            return self.outc(x)

    return UNet()


def fcn(skips):
    """skips: (enlarging layer, pooling, offset of its crop); then the last enlargement, its factor and offset."""

    class FCN(nn.Module):
        def __init__(self):
            super().__init__()
            channels = 3
            for stage, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
                for i in range(1, depth + 1):
                    layer = nn.Conv2d(channels, width, 3, padding=100 if stage == i == 1 else 1)
                    self.add_module(f"conv{stage}_{i}", layer)
                    channels = width
            self.fc6, self.fc7 = nn.Conv2d(512, 4096, 7), nn.Conv2d(4096, 4096, 1)
            self.score_fr = nn.Conv2d(4096, 10, 1)
            for name, pool, _ in skips[:-1]:
                self.add_module(name, nn.ConvTranspose2d(10, 10, 4, 2, bias=False))
                self.add_module(f"score_{pool}", nn.Conv2d({"pool4": 512, "pool3": 256}[pool], 10, 1))
            name, factor, _ = skips[-1]
            self.add_module(name, nn.ConvTranspose2d(10, 10, 2 * factor, factor, bias=False))

        def forward(self, x):
            size, pools = x.shape[2:], {}
            for stage, depth in enumerate((2, 2, 3, 3, 3), 1):
                for i in range(1, depth + 1):
                    x = getattr(self, f"conv{stage}_{i}")(x).relu()
                x = pools[f"pool{stage}"] = F.max_pool2d(x, 2, ceil_mode=True)
            x = self.score_fr(self.fc7(self.fc6(x).relu()).relu())
            for name, pool, at in skips[:-1]:
                x = getattr(self, name)(x)
                x = x + getattr(self, f"score_{pool}")(pools[pool])[:, :, at : at + x.shape[2], at : at + x.shape[3]]
            name, _, at = skips[-1]
            return getattr(self, name)(x)[:, :, at : at + size[0], at : at + size[1]]

    return FCN()


class UNetValid(nn.Module):
    def __init__(self):
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        for i, width in enumerate(widths):
            self._add(f"conv_d{i}a-b", nn.Conv2d(widths[i - 1] if i else 3, width, 3))
            self._add(f"conv_d{i}b-c", nn.Conv2d(width, width, 3))
        for i, width in enumerate(widths[:-1]):
            self._add(f"upconv_{'d4c' if i == 3 else f'u{i + 1}d'}_u{i}a", nn.ConvTranspose2d(2 * width, width, 2, 2))
            self._add(f"conv_u{i}b-c", nn.Conv2d(2 * width, width, 3))
            self._add(f"conv_u{i}c-d", nn.Conv2d(width, width, 3))
        self._add("conv_u0d-score", nn.Conv2d(64, 10, 1))

    def _add(self, name, layer):
        self.add_module(name, layer)

    def forward(self, x):
        layers, skipped = dict(self.named_children()), []
        for i in range(5):
            x = F.max_pool2d(x, 2) if i else x
            x = layers[f"conv_d{i}b-c"](layers[f"conv_d{i}a-b"](x).relu()).relu()
            skipped.append(x)
        for i in (3, 2, 1, 0):
            x = layers[f"upconv_{'d4c' if i == 3 else f'u{i + 1}d'}_u{i}a"](x).relu()
            top, left = ((a - b) // 2 for a, b in zip(skipped[i].shape[2:], x.shape[2:], strict=True))
            centre = skipped[i][:, :, top : top + x.shape[2], left : left + x.shape[3]]
            x = torch.cat([x, centre], 1)
            x = layers[f"conv_u{i}c-d"](layers[f"conv_u{i}b-c"](x).relu()).relu()
        return layers["conv_u0d-score"](x)


def vggish():
    features, channels = [], 1
    for width in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M"):
        features += [nn.MaxPool2d(2)] if width == "M" else [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        channels = channels if width == "M" else width

    class ChannelsLast(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1).flatten(1)

    embeddings = sequence(nn.Linear(12288, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128),
                          nn.ReLU())  # fmt: skip
    return sequence(("features", sequence(*features)), ("last", ChannelsLast()), ("embeddings", embeddings))


def m5():
    """Along lines, as PyTorch's tutorial has it: what it is compared with has planes one pixel high."""
    layers, channels = [], 1
    for i, width in enumerate((32, 32, 64, 64), 1):
        layer = nn.Conv1d(1, 32, 80, 16) if i == 1 else nn.Conv1d(channels, width, 3)
        layers += [(f"conv{i}", layer), (f"bn{i}", nn.BatchNorm1d(width)), (f"relu{i}", nn.ReLU()),
                   (f"pool{i}", nn.MaxPool1d(4))]  # fmt: skip
        channels = width

    class OnLines(nn.Sequential):
        def load_state_dict(self, state, strict):
            return super().load_state_dict({k: v.squeeze(2) if v.ndim == 4 else v for k, v in state.items()}, strict)

        def forward(self, x):
            return super().forward(x.squeeze(2))

    return OnLines(OrderedDict([*layers, ("mean", nn.AdaptiveAvgPool1d(1)), ("flatten", nn.Flatten()),
                                ("fc1", nn.Linear(64, 35))]))  # fmt: skip


class SegNet(nn.Module):
    def __init__(self):
        super().__init__()
        channels = 3
        for i, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
            for j in range(1, depth + 1):
                below = channels if j == 1 else width
                self._add(f"conv{i}_{j}", below, width)
                self._add(
                    f"conv{i}_{j}_D", width, (10 if i == 1 else channels) if j == 1 else width, norm=(i, j) != (1, 1)
                )
            channels = width

    def _add(self, name, channels, out, norm=True):
        self.add_module(name, nn.Conv2d(channels, out, 3, padding=1))
        if norm:
            self.add_module(f"{name}_bn", nn.BatchNorm2d(out))

    def _unit(self, name, x):
        x = getattr(self, name)(x)
        return getattr(self, f"{name}_bn")(x).relu() if hasattr(self, f"{name}_bn") else x

    def forward(self, x):
        pooled = []
        for i, depth in enumerate((2, 2, 3, 3, 3), 1):
            for j in range(1, depth + 1):
                x = self._unit(f"conv{i}_{j}", x)
            size = x.shape
            x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            pooled.append((indices, size))
        for i, depth in zip(range(5, 0, -1), (3, 3, 3, 2, 2), strict=True):
            indices, size = pooled.pop()
            x = F.max_unpool2d(x, indices, 2, output_size=size)
            for j in range(depth, 0, -1):
                x = self._unit(f"conv{i}_{j}_D", x)
        return x


def dcgan_generator():
    layers, channels = [], 100
    for out in (512, 256, 128, 64):
        step = (1, 0) if channels == 100 else (2, 1)
        layers += [nn.ConvTranspose2d(channels, out, 4, *step, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        channels = out
    return sequence(("main", sequence(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())))


def dcgan_discriminator():
    layers = [conv(3, 64, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for out in (128, 256, 512):
        layers += [conv(out // 2, out, 4, stride=2, padding=1), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]
    return sequence(("main", sequence(*layers, conv(512, 1, 4), nn.Sigmoid())))
