//! Inputs that mean something, of one kind or another: every target begins with them all. What other programs say is written
//! down as they say it on x86-64.

/// Name and bytes.
pub(crate) const SEEDS: [(&str, &[u8]); 18] = [
    ("default.json", include_bytes!("../../../src/spec/default.json")),
    ("full.json", include_bytes!("../../../src/spec/load/full.json")),
    ("docker.json", include_bytes!("../../fixtures/docker-config.json")),
    ("compose.yaml", include_bytes!("../../../bundles/shop/compose.yaml")),
    (
        "process.json",
        b"{\"args\": [\"sh\"], \"cwd\": \"/\", \"env\": [\"PATH=/bin\"], \"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"soft\": 1, \"hard\": 2}]}",
    ),
    (
        "mounts",
        b"/tmp tmpfs tmpfs nosuid,mode=1777,size=1m\n/mnt none /srv rbind,ro,rslave,rnoatime\n/x bind a bind,idmap,tmpcopyup",
    ),
    (
        "users",
        b"app:1000\nroot:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n\nroot:x:0:\napp:x:1000:app,root",
    ),
    (
        "seccomp.json",
        b"{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"architectures\": [\"SCMP_ARCH_X86_64\"], \"syscalls\": [{\"names\": [\"read\"], \
          \"action\": \"SCMP_ACT_ALLOW\", \"args\": [{\"index\": 0, \"value\": 1, \"op\": \"SCMP_CMP_EQ\"}]}]}",
    ),
    ("endpoint", b"default:ip=10.0.0.2,alias=web,mac=02:00:00:00:00:01,priority=7"),
    (
        "definition.json",
        b"{\"name\": \"shop\", \"driver\": \"bridge\", \"bridge\": \"mr-shop\", \"ipv4\": {\"subnet\": \"10.186.1.0/24\", \
          \"gateway\": \"10.186.1.1\", \"range\": \"10.186.1.128/25\"}, \"ipv6\": {\"subnet\": \"fd00::/64\", \"gateway\": \"fd00::1\"}, \
          \"mtu\": 1400, \"hostAccess\": true, \"policy\": {\"within\": \"deny\", \"egress\": \"allow\", \"rules\": [{\"from\": \"web\", \
          \"to\": \"db\", \"ports\": [\"5432/tcp\"], \"rate\": \"10/second\"}]}, \"labels\": {\"a\": \"b\"}}",
    ),
    (
        "lease.json",
        b"{\"container\": \"web\", \"names\": [\"web\", \"www\"], \"shared\": [\"www\"], \"address\": \"10.186.1.2\", \"address6\": \"fd00::2\", \
          \"mac\": \"02:00:00:00:00:01\", \"interface\": \"eth0\", \"hostInterface\": \"mr1234\", \"netns\": {\"device\": 4, \"inode\": 5}, \
          \"hostNetns\": {\"device\": 4, \"inode\": 6}, \"bootId\": \"boot\", \"generation\": 3, \"ports\": [{\"host\": 8080, \"container\": 80, \
          \"protocol\": \"tcp\"}], \"upstream\": [\"192.0.2.1\"], \"priority\": 1}",
    ),
    (
        "history.json",
        b"{\"bootId\": \"boot\", \"generation\": 4, \"ipv4\": {\"subnet\": {\"subnet\": \"10.186.0.0/24\", \"gateway\": \"10.186.0.1\"}, \
          \"next\": \"10.186.0.255\", \"freed\": [[\"10.186.0.7\", \"mr7\"]]}}",
    ),
    ("resolv.conf", b"# by hand\nsearch a.example b.example\nnameserver 127.0.0.53\nnameserver fe80::1%7\noptions ndots:2 edns0\n"),
    (
        "counters.json",
        b"{\"nftables\": [{\"counter\": {\"name\": \"rule/shop/0\", \"packets\": 1, \"bytes\": 2}}, {\"set\": {\"name\": \"refused4\", \"elem\": \
          [{\"elem\": {\"val\": {\"concat\": [\"10.0.0.1\", \"10.0.0.2\", \"tcp\", 80]}, \"counter\": {\"packets\": 1, \"bytes\": 2}}}]}}]}",
    ),
    // www.example.org, an address of version 4, with EDNS.
    (
        "question",
        b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\x01\x03www\x07example\x03org\0\0\x01\0\x01\0\0\x29\x10\0\0\0\0\0\0\0",
    ),
    // A connection that is tracked: both tuples, and its state.
    (
        "conntrack",
        b"\x8c\0\0\0\0\x01\x02\0\x01\0\0\0\0\0\0\0\x02\0\0\0\
          \x34\0\x01\x80\x14\0\x01\x80\x08\0\x01\0\x0a\0\0\x02\x08\0\x02\0\x0a\0\0\x03\x1c\0\x02\x80\x05\0\x01\0\x06\0\0\0\x06\0\x02\0\x12\x34\0\0\x06\0\x03\0\0\x50\0\0\
          \x34\0\x02\x80\x14\0\x01\x80\x08\0\x01\0\x0a\0\0\x03\x08\0\x02\0\x0a\0\0\x02\x1c\0\x02\x80\x05\0\x01\0\x06\0\0\0\x06\0\x02\0\0\x50\0\0\x06\0\x03\0\x12\x34\0\0\
          \x08\0\x03\0\0\0\0\x0e\x08\0\x0c\0\0\0\0\x01",
    ),
    // A property, the job that StartTransientUnit makes, and its end.
    (
        "systemd",
        b"l\x02\x01\x01\x0a\0\0\0\x01\0\0\0\x0f\0\0\0\x05\x01u\0\x01\0\0\0\x08\x01g\0\x01v\0\0\x01s\0\0\x01\0\0\0/\0\
          l\x02\x01\x01\x0a\0\0\0\x02\0\0\0\x0f\0\0\0\x05\x01u\0\x02\0\0\0\x08\x01g\0\x01o\0\0\x05\0\0\0/a/b1\0\
          l\x04\x01\x01!\0\0\0\x03\0\0\0\x22\0\0\0\x03\x01s\0\x0a\0\0\0JobRemoved\0\0\0\0\0\0\x08\x01g\0\x04uoss\0\0\0\0\0\0\0\x01\0\0\0\x05\0\0\0/a/b1\0\0\0\x01\0\0\0u\0\0\0\x04\0\0\0done\0",
    ),
    // A notification with the first process.
    ("criu", b"\x08\x06\x10\x01\x2a\x11\x0a\x0cpost-restore\x10\xd2\x09\x38\x02\x4a\x05wrong"),
];
