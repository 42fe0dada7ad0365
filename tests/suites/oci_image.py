"""Makes an OCI image archive of a root directory's tar: oci_image.py ROOT.tar NAME OUT.tar"""
import hashlib, io, json, sys, tarfile

root, name, out = sys.argv[1:4]


def digest(stream):
    total = hashlib.sha256()
    while block := stream.read(1 << 20):
        total.update(block)
    return total.hexdigest()


with open(root, "rb") as layer:
    layer_id = digest(layer)
    size = layer.tell()
    with tarfile.open(out, "w") as archive:

        def add(path, length, stream):
            entry = tarfile.TarInfo(path)
            entry.size = length
            archive.addfile(entry, stream)

        def blob(content, kind):
            data = json.dumps(content).encode()
            name = hashlib.sha256(data).hexdigest()
            add(f"blobs/sha256/{name}", len(data), io.BytesIO(data))
            return {"mediaType": kind, "digest": f"sha256:{name}", "size": len(data)}

        layer.seek(0)
        add(f"blobs/sha256/{layer_id}", size, layer)
        config = {
            "architecture": "amd64",
            "os": "linux",
            # A pod's sandbox is of this image too: it is to stay.
            "config": {"Cmd": ["sleep", "infinity"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_id}"]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{layer_id}", "size": size}],
        }
        entry = blob(manifest, manifest["mediaType"])
        entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
        for path, content in [("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", {"schemaVersion": 2, "manifests": [entry]})]:
            data = json.dumps(content).encode()
            add(path, len(data), io.BytesIO(data))
