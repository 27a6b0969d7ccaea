"""protobuf-c: C code from message files, a descriptor set from messages and services."""

def _proto_c_impl(ctx):
    headers = []
    sources = []
    for src in ctx.files.messages:
        base = src.basename[:-len(".proto")]
        headers.append(ctx.actions.declare_file(base + ".pb-c.h"))
        sources.append(ctx.actions.declare_file(base + ".pb-c.c"))
    root = headers[0].root.path
    ctx.actions.run_shell(
        inputs = ctx.files.messages + ctx.files.imports,
        outputs = headers + sources,
        command = "protoc-c --proto_path=. --c_out=%s %s" %
                  (root, " ".join([f.path for f in ctx.files.messages])),
        mnemonic = "ProtoC",
        use_default_shell_env = True,
    )
    descriptors = ctx.actions.declare_file(ctx.label.name + ".ds")
    ctx.actions.run_shell(
        inputs = ctx.files.messages + ctx.files.services + ctx.files.imports,
        outputs = [descriptors],
        command = "protoc-c --proto_path=. --include_imports --descriptor_set_out=%s --c_out=$(mktemp -d) %s" %
                  (descriptors.path, " ".join([f.path for f in ctx.files.messages + ctx.files.services])),
        mnemonic = "ProtoDescriptors",
        use_default_shell_env = True,
    )
    return [
        DefaultInfo(files = depset(headers + sources)),
        OutputGroupInfo(
            headers = depset(headers),
            sources = depset(sources),
            descriptors = depset([descriptors]),
        ),
    ]

_proto_c = rule(
    implementation = _proto_c_impl,
    attrs = {
        "messages": attr.label_list(allow_files = [".proto"], mandatory = True),
        "services": attr.label_list(allow_files = [".proto"]),
        "imports": attr.label_list(allow_files = [".proto"]),
    },
)

def proto_c(name, messages, services = [], imports = [], deps = [], **kwargs):
    """NAME: a cc_library of the messages; NAME.descriptors: the FileDescriptorSet for reflection.

    `service` blocks stand in files of their own (services): protoc-c would emit C keywords for them.
    """
    _proto_c(name = name + ".gen", messages = messages, services = services, imports = imports)
    for group in ["headers", "sources", "descriptors"]:
        native.filegroup(name = name + "." + group, srcs = [":" + name + ".gen"], output_group = group, **kwargs)
    native.cc_library(
        name = name,
        srcs = [":" + name + ".sources"],
        hdrs = [":" + name + ".headers"],
        copts = ["-std=c17", "-D_GNU_SOURCE", "-w"],
        deps = deps + ["//bazel/lib:protobuf_c"],
        **kwargs
    )
