"""Another language's stack speaks to the server: python3-grpcio, with what our own client cannot do.

foreign_client.py MODE TARGET DIR: the folder has ca.pem, cert.pem, key.pem. Prints one word: the gRPC code, or for
the TLS modes "refused" or "accepted".
"""
import socket
import ssl
import sys

import grpc


def read(name):
    with open(folder + "/" + name, "rb") as file:
        return file.read()


def call(credentials, compression=None):
    options = [("grpc.ssl_target_name_override", "node.test"), ("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(target, credentials, options=options, compression=compression) as channel:
        method = channel.unary_unary("/test.T/Work", request_serializer=bytes, response_deserializer=bytes)
        request = b"\x18\x4d" + (b"\x22\x80\x08" + b"\0" * 1024 if mode != "garbage" else b"\xff\xff")
        try:
            reply = method(request, timeout=10)
            return "OK" if reply == request else "DIFFERENT"
        except grpc.RpcError as error:
            return error.code().name


def tls(version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(folder + "/ca.pem")
    context.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    host, port = target.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain):
            return "accepted"
    except ssl.SSLError:
        return "refused"


mode, target, folder = sys.argv[1:]
mutual = grpc.ssl_channel_credentials(read("ca.pem"), read("key.pem"), read("cert.pem"))
if mode == "nobody":
    print(call(grpc.ssl_channel_credentials(read("ca.pem"))))
elif mode == "gzip":
    print(call(mutual, grpc.Compression.Gzip))
elif mode == "tls12":
    print(tls(ssl.TLSVersion.TLSv1_2))
elif mode == "tls13":
    print(tls(ssl.TLSVersion.TLSv1_3))
else:
    print(call(mutual))
