# Debian's PostgreSQL 15: the server, what makes and checks a cluster, its client, and a small shell.
#
# Left out: the just-in-time compiler (LLVM alone is larger than all the rest), the languages that need an interpreter of
# their own, the tools for administrators, headers, locales, translations.

packages=(postgresql-15 postgresql-client-15 libpq5 tzdata)

server=/usr/lib/postgresql/15
shared=/usr/share/postgresql/15

assemble() {
    keep $server/bin/{postgres,initdb,pg_ctl,pg_controldata,psql,pg_isready,pg_dump} \
        $server/lib/{plpgsql,libpqwalreceiver,dict_snowball}.so \
        $shared/{postgres.bki,information_schema.sql,snowball_create.sql,sql_features.txt,timezonesets} \
        $shared/{errcodes.txt,system_constraints.sql,system_functions.sql,system_views.sql} \
        $shared/{pg_hba.conf.sample,pg_ident.conf.sample,postgresql.conf.sample} \
        $shared/extension/plpgsql{.control,--1.0.sql} $shared/tsearch_data \
        /usr/share/zoneinfo/{Etc,UTC} /usr/lib/locale/C.utf8 /usr/bin/busybox
    local program
    for program in "$root$server"/bin/*; do ln -s "../lib/postgresql/15/bin/${program##*/}" "$root/usr/bin/"; done
    keep_libraries
    busybox_links
    add_user postgres 997 /var/lib/postgresql
    # A volume that is mounted here takes over owner and mode.
    install -d -m 0700 -o 997 -g 997 "$root/var/lib/postgresql" "$root/var/lib/postgresql/data"
    install -d -m 0755 -o 997 -g 997 "$root/run/postgresql"
    mkdir -p "$root/etc/postgresql" # a bundle binds its settings and its start over it
}
