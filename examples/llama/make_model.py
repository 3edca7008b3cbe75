#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a small GGUF model with RANDOM WEIGHTS: it says nothing, but computes like a real one. For tests.

  make_model.py FILE [--seed N] [--layers N] [--context N] [--swa N] [--recurrent]

A llama of 3 layers, 128 wide, with one token a byte: 2 MB. --swa N makes it a Gemma 2, whose every other layer has a
window of N tokens; --recurrent a Mamba. Both only to show what the adapter does with such models. Standard library only.
"""
import argparse
import array
import random
import struct

WIDTH, HEADS, KV_HEADS, FEED = 128, 2, 1, 256
STRING, ARRAY, U32, I32, F32, BOOL = 8, 9, 4, 5, 6, 7
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'"
          " + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def byte_tokens():
    """GPT-2's printable stand-ins for the 256 bytes, in the order of the bytes."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, spare = {}, 256
    for b in range(256):
        table[b] = chr(b) if b in plain else chr(spare)
        spare += b not in plain
    return [table[b] for b in range(256)]


def text(s):
    raw = s.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def value(kind, v):
    if kind == STRING:
        return text(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def entry(key, kind, v):
    if isinstance(v, list):
        return text(key) + struct.pack("<IIQ", ARRAY, kind, len(v)) + b"".join(value(kind, x) for x in v)
    return text(key) + struct.pack("<I", kind) + value(kind, v)


def vocabulary():
    tokens = byte_tokens() + ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return tokens, [1] * 256 + [3] * 3      # normal, control


def metadata(arch, args):
    tokens, types = vocabulary()
    keys = [("general.architecture", STRING, arch), ("general.name", STRING, "random-weights"),
            ("general.description", STRING, f"random weights, seed {args.seed}: for tests"),
            ("general.file_type", U32, 0),
            (arch + ".context_length", U32, args.context), (arch + ".embedding_length", U32, WIDTH),
            (arch + ".block_count", U32, args.layers), (arch + ".feed_forward_length", U32, FEED),
            (arch + ".attention.layer_norm_rms_epsilon", F32, 1e-5), (arch + ".vocab_size", U32, len(tokens))]
    if arch == "mamba":
        keys += [(arch + ".ssm.conv_kernel", U32, 4), (arch + ".ssm.inner_size", U32, 2 * WIDTH),
                 (arch + ".ssm.state_size", U32, 16), (arch + ".ssm.time_step_rank", U32, 8)]
    else:
        keys += [(arch + ".attention.head_count", U32, HEADS), (arch + ".attention.head_count_kv", U32, KV_HEADS),
                 (arch + ".rope.dimension_count", U32, WIDTH // HEADS)]
    if arch == "gemma2":
        keys += [(arch + ".attention.sliding_window", U32, args.swa), (arch + ".attention.key_length", U32, WIDTH // HEADS),
                 (arch + ".attention.value_length", U32, WIDTH // HEADS), (arch + ".attn_logit_softcapping", F32, 50.0),
                 (arch + ".final_logit_softcapping", F32, 30.0)]
    keys += [("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "default"),
             ("tokenizer.ggml.tokens", STRING, tokens), ("tokenizer.ggml.token_type", I32, types),
             ("tokenizer.ggml.merges", STRING, []), ("tokenizer.ggml.add_bos_token", BOOL, False),
             ("tokenizer.ggml.bos_token_id", U32, 256), ("tokenizer.ggml.eos_token_id", U32, 258),
             ("tokenizer.chat_template", STRING, CHATML)]
    return keys


def tensors(arch, layers):
    """(name, shape as GGUF has it: the fastest dimension first, None or a constant instead of noise)"""
    kv = KV_HEADS * (WIDTH // HEADS)
    yield "token_embd.weight", (WIDTH, len(vocabulary()[0])), None
    yield "output_norm.weight", (WIDTH,), 1.0
    if arch != "gemma2":
        yield "output.weight", (WIDTH, len(vocabulary()[0])), None
    for n in range(layers):
        p = f"blk.{n}."
        yield p + "attn_norm.weight", (WIDTH,), 1.0
        if arch == "mamba":
            yield p + "ssm_in.weight", (WIDTH, 4 * WIDTH), None
            yield p + "ssm_conv1d.weight", (4, 2 * WIDTH), None
            yield p + "ssm_conv1d.bias", (2 * WIDTH,), 0.0
            yield p + "ssm_x.weight", (2 * WIDTH, 8 + 32), None
            yield p + "ssm_dt.weight", (8, 2 * WIDTH), None
            yield p + "ssm_dt.bias", (2 * WIDTH,), 0.0
            yield p + "ssm_a", (16, 2 * WIDTH), -1.0
            yield p + "ssm_d", (2 * WIDTH,), 1.0
            yield p + "ssm_out.weight", (2 * WIDTH, WIDTH), None
            continue
        yield p + "attn_q.weight", (WIDTH, WIDTH), None
        yield p + "attn_k.weight", (WIDTH, kv), None
        yield p + "attn_v.weight", (WIDTH, kv), None
        yield p + "attn_output.weight", (WIDTH, WIDTH), None
        yield p + "ffn_norm.weight", (WIDTH,), 1.0
        yield p + "ffn_gate.weight", (WIDTH, FEED), None
        yield p + "ffn_up.weight", (WIDTH, FEED), None
        yield p + "ffn_down.weight", (FEED, WIDTH), None
        if arch == "gemma2":
            yield p + "post_attention_norm.weight", (WIDTH,), 1.0
            yield p + "post_ffw_norm.weight", (WIDTH,), 1.0


def count(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--context", type=int, default=32768)
    parser.add_argument("--swa", type=int, default=0)
    parser.add_argument("--recurrent", action="store_true")
    args = parser.parse_args()
    arch = "mamba" if args.recurrent else "gemma2" if args.swa else "llama"
    rng = random.Random(args.seed)

    keys = metadata(arch, args)
    infos, data, at = b"", [], 0
    for name, shape, constant in tensors(arch, args.layers):
        n = count(shape)
        numbers = [constant] * n if constant is not None else [rng.gauss(0.0, 0.15) for _ in range(n)]
        raw = array.array("f", numbers).tobytes()
        raw += b"\0" * (-len(raw) % 32)
        infos += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in shape)
        infos += struct.pack("<IQ", 0, at)      # F32
        data.append(raw)
        at += len(raw)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(data), len(keys)) + b"".join(entry(*k) for k in keys) + infos
    with open(args.file, "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32))
        f.writelines(data)


if __name__ == "__main__":
    main()
