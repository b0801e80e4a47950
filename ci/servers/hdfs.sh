# shellcheck shell=bash disable=SC2034,SC2154
# HDFS 2.7.4, a NameNode and a DataNode, with WebHDFS on the next port: the jars are in a release of PySpark, those
# that WebHDFS wants besides are Debian's. libhdfs, which pyarrow loads, is compiled from its source, in a Pydoop.
default_port=21820
hadoop="$tools/hadoop-2.7.4"
classes=org.apache.hadoop.hdfs.server
relay=127.0.0.2 # the NameNode listens there, behind a relay: see serve
jars=(hadoop-{common,hdfs,auth,annotations} commons-{beanutils,cli,codec,collections,configuration,digester}
    commons-{httpclient,io,lang-2,logging,math3,net} jackson-{core,mapper}-asl activation apacheds api-asn1 api-util
    curator gson guava htrace-core httpclient httpcore javax.servlet-api jaxb-api jetty jsp-api jsr305 leveldbjni log4j
    netty-all protobuf-java slf4j xmlenc zookeeper)
web_jars=(libjersey1-core-java libjersey1-server-java libjersey1-servlet-java libjsr311-api-java)

ports() { # NameNode: clients, web; DataNode: data, calls, web; NameNode: calls of the DataNode
    seq "$port" $((port + 5))
}

install() {
    java_home >/dev/null || debian openjdk-17-jdk-headless
    command -v gcc >/dev/null || debian gcc libc6-dev
    debian "${web_jars[@]}"
    pypi sdists "setuptools<80" wheel # with these old packages can say what they are
    alone hadoop unpack_hadoop
    alone hadoop compile_libhdfs
}

java_home() { # of Java 8 to 23: later ones lack what this release of Hadoop calls
    local java version
    for java in "${JAVA_HOME:-}/bin/java" "$(command -v java)" /usr/lib/jvm/*/bin/java; do
        [ -x "$java" ] || continue
        version="$("$java" -version 2>&1 | sed -nE 's/.* version "(1\.)?([0-9]+).*/\2/p')"
        java="$(readlink -f "$java")"
        [ "${version:-0}" -ge 8 ] && [ "$version" -le 23 ] && echo "${java%/bin/java}" && return
    done
    return 1
}

sdist() { # FOLDER REQUIREMENT SHA-256
    echo "$2 --hash=sha256:$3" >"$1/requirement"
    "$tools/sdists/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --no-binary :all: --require-hashes --requirement "$1/requirement" --dest "$1" >&2 </dev/null
}

unpack_hadoop() {
    [ ! -d "$hadoop" ] || return 0
    local place
    place="$(mktemp -d "$tools/unpacking.XXXX")"
    jars=("${jars[@]/#/*/deps/jars/}")
    say "downloads 205 MB, of which 31 MB are kept"
    sdist "$place" pyspark==3.0.2 d4f2ced43394ad773f7b516a4bbcb5821a940462a17b1a25f175c83771b62ebc &&
        tar -xzf "$place"/pyspark-*.tar.gz -C "$place" --strip-components=3 --no-same-owner --wildcards \
            "${jars[@]/%/*}" 2>>"$state/log" || true # of a name that is not there
    [ -n "$(find "$place" -name 'hadoop-hdfs-*.jar')" ] || fail "HDFS's jars could not be had"
    rm -f "$place"/*.tar.gz
    mv "$place" "$hadoop"
}

compile_libhdfs() {
    [ ! -e "$hadoop/libhdfs.so" ] || return 0
    local place java
    java="$(java_home)"
    [ -e "$java/include/jni.h" ] || fail "there is no jni.h in $java: a JDK is needed"
    place="$(mktemp -d "$tools/compiling.XXXX")"
    sdist "$place" pydoop==2.0.0 c7eb2ad8c36d2a75dc1c6cee701928334614f2e862a70798b0cb278e3102f77d
    tar -xzf "$place"/pydoop-*.tar.gz -C "$place" --no-same-owner --wildcards '*/src/libhdfs' --strip-components=3
    (
        cd "$place"
        gcc -w -O2 -fPIC -shared -o libhdfs.so -I. -Iinclude -Iinclude/hdfs -Ios -Ios/posix -Icommon \
            -I"$java/include" -I"$java/include/linux" hdfs.c exception.c jni_helper.c common/htable.c os/posix/*.c \
            -L"$java/lib/server" -ljvm -Wl,-rpath,"$java/lib/server" -lpthread -ldl >&2
    ) || fail "libhdfs could not be compiled"
    mv "$place/libhdfs.so" "$hadoop/libhdfs.so"
    rm -rf "$place"
}

class_path() {
    local package
    printf '%s:%s' "$state/settings" "$state/web"
    printf ':%s' "$hadoop"/*.jar
    for package in "${web_jars[@]}"; do
        package="${package#lib}"
        printf ':/usr/share/java/%s.jar' "${package%-java}"
    done
}

settings() { # NAME VALUE...
    echo "<configuration>"
    printf '<property><name>%s</name><value>%s</value></property>\n' "$@"
    echo "</configuration>"
}

serve() {
    local java
    java=("$(java_home)/bin/java" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true
        -cp "$(class_path)")
    unset CLASSPATH HADOOP_HOME HADOOP_CONF_DIR HADOOP_OPTS
    mkdir -p "$state/settings" "$state/web/webapps/"{hdfs,datanode,static,secondary}/WEB-INF
    settings fs.defaultFS "hdfs://$host:$port" hadoop.tmp.dir "$data/temporary" >"$state/settings/core-site.xml"
    settings dfs.namenode.name.dir "file://$data/names" dfs.datanode.data.dir "file://$data/blocks" \
        dfs.namenode.rpc-address "$host:$port" dfs.namenode.rpc-bind-host "$relay" \
        dfs.namenode.http-address "$host:$((port + 1))" dfs.datanode.address "$host:$((port + 2))" \
        dfs.datanode.ipc.address "$host:$((port + 3))" dfs.datanode.http.address "$host:$((port + 4))" \
        dfs.namenode.servicerpc-address "$host:$((port + 5))" dfs.datanode.hostname "$host" \
        dfs.replication 1 dfs.permissions.enabled false dfs.webhdfs.enabled true dfs.namenode.safemode.extension 0 \
        dfs.namenode.datanode.registration.ip-hostname-check false dfs.namenode.replication.considerLoad false \
        dfs.namenode.fs-limits.min-block-size 1024 dfs.heartbeat.interval 1 dfs.datanode.du.reserved 0 \
        dfs.datanode.max.transfer.threads 4096 dfs.datanode.directoryscan.throttle.limit.ms.per.sec 1000 \
        >"$state/settings/hdfs-site.xml"
    printf '%s\n' log4j.rootLogger=WARN,A log4j.appender.A=org.apache.log4j.ConsoleAppender \
        log4j.appender.A.target=System.err log4j.appender.A.layout=org.apache.log4j.PatternLayout \
        "log4j.appender.A.layout.ConversionPattern=%d %p %c{2}: %m%n" >"$state/settings/log4j.properties"
    [ -d "$data/names/current" ] ||
        "${java[@]}" "$classes.namenode.NameNode" -format -force -nonInteractive >>"$state/log" 2>&1 </dev/null 9>&- ||
        fail "the NameNode could not be prepared: $state/log"
    background "${java[@]}" "$classes.namenode.NameNode"
    background "${java[@]}" "$classes.datanode.DataNode"
    # Without a network in between, clients say "complete" before the DataNode has reported a block, and sleep 0.4 s.
    background "$python3" "$servers/delay_relay.py" "$host:$port" "$relay:$port" 6
}

answers() {
    ask webhdfs "$host" $((port + 1)) "$(id -un)"
}

address() {
    echo "hdfs://$host:$port/daskzarr {\"host\": \"$host\", \"port\": $port}"
}

client_environment() { # the last four are for pyarrow, which runs a JVM in the client's process
    printf 'DASKZARR_TEST_WEBHDFS=webhdfs://%s:%s/daskzarr {"host": "%s", "port": %s, "user": "%s"}\n' \
        "$host" $((port + 1)) "$host" $((port + 1)) "$(id -un)"
    echo "JAVA_HOME=$(java_home)"
    echo "ARROW_LIBHDFS_DIR=$hadoop"
    echo "CLASSPATH=$(class_path)"
    echo "LIBHDFS_OPTS=-Xmx256m -XX:+UseSerialGC"
}
