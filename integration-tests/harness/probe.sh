# What a process sees of its container, in sections. Runs as `sh -c`, so that no descriptor is this script's own.
section() { echo "== $1"; }
section namespaces; for name in cgroup ipc mnt net pid time user uts; do echo "$name $(readlink /proc/self/ns/$name)"; done
section mounts; cat /proc/self/mountinfo
section status; grep -E '^(Uid|Gid|Groups|Cap[A-Za-z]*|NoNewPrivs|Seccomp|Seccomp_filters|NSpid|Umask):' /proc/$$/status
section limits; sed 1d /proc/$$/limits
section oom_score_adj; cat /proc/$$/oom_score_adj
section descriptors; ls /proc/$$/fd
section environment; tr '\0' '\n' </proc/$$/environ | sort
section cwd; readlink /proc/$$/cwd
section command; tr '\0' '\n' </proc/1/cmdline | head -n 1
section hostname; hostname; cat /proc/sys/kernel/domainname
section id; id
section session; cut -d' ' -f4-7 /proc/$$/stat
section signals; grep -E '^Sig(Blk|Ign|Cgt)' /proc/$$/status
section cgroup; cat /proc/self/cgroup
section cgroup_files; for name in cpu.cfs_quota_us cpu.cfs_period_us cpu.shares memory.limit_in_bytes memory.soft_limit_in_bytes \
    memory.memsw.limit_in_bytes devices.list cpu.max cpu.weight memory.max memory.low memory.swap.max pids.max cpuset.cpus cpuset.mems
do for file in "/sys/fs/cgroup/$name" "/sys/fs/cgroup/"*"/$name"; do [ -e "$file" ] && sort "$file" | sed "s|^|$file |"; done; done
section devices; ls -lR /dev | sed 's/ [A-Z][a-z][a-z] .*[0-9] / /'
section root; stat -c '%A %u:%g %n' /*
section proc; for path in acpi asound kcore keys latency_stats timer_list timer_stats sched_debug scsi bus fs irq sys sysrq-trigger
do stat -c '%n %F %a %t:%T' "/proc/$path" 2>&1; done
section masked; for path in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug
do [ -e "$path" ] && echo "$path $(head -c 1 "$path" 2>/dev/null | wc -c)"; done
section writable; for path in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/profiling /sys/fs/cgroup/cgroup.procs
do if [ -e "$path" ]; then (: >>"$path") 2>/dev/null && echo "$path yes" || echo "$path no"; fi; done
section links; sed 's/:.*//;1,2d' /proc/net/dev
section affinity; grep -E '^(Cpus|Mems)_allowed_list' /proc/$$/status
section personality; cat /proc/$$/personality 2>/dev/null
section keyring; grep ' _ses\.' /proc/keys 2>/dev/null; :
