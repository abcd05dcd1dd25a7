// Writes small.tar.gz, small-joined.tar.gz and small.json beside it: one small root as eStargz, by the package that stargz-snapshotter itself
// uses. See README.md.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"os"
	"time"

	"github.com/containerd/stargz-snapshotter/estargz"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// noise is what no compressor makes smaller, so that chunks keep their size.
func noise(seed int64, size int) []byte {
	data := make([]byte, size)
	rand.New(rand.NewSource(seed)).Read(data)
	return data
}

func root() []byte {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	add := func(header tar.Header, content []byte) {
		header.Size = int64(len(content))
		header.ModTime = time.Unix(1600000000, 123456789)
		header.Format = tar.FormatPAX
		check(archive.WriteHeader(&header))
		_, err := archive.Write(content)
		check(err)
	}
	dir := func(name string) { add(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, nil) }
	file := func(name string, content []byte) {
		add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content)
	}
	dir("bin/")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/tool", Mode: 0o4755, Uid: 7, Gid: 300000,
		PAXRecords: map[string]string{"SCHILY.xattr.user.of": "tool"}}, noise(1, 6_000))
	add(tar.Header{Typeflag: tar.TypeLink, Name: "bin/also", Linkname: "bin/tool", Mode: 0o4755, Uid: 7, Gid: 300000}, nil)
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/sh", Linkname: "../bin/tool", Mode: 0o777}, nil)
	dir("etc/")
	file("etc/empty", nil)
	file("etc/naïve", []byte("text\n"))
	add(tar.Header{Typeflag: tar.TypeChar, Name: "etc/null", Mode: 0o666, Devmajor: 1, Devminor: 3}, nil)
	dir("lib/")
	dir("lib/apk/")
	dir("lib/apk/db/")
	// The sha1 of nothing: what matters is the text.
	installed := "P:tool\nV:1.0-r0\no:tool\nF:bin\nR:tool\n\n"
	for i := range 200 {
		installed += fmt.Sprintf("P:other-%d\nV:1.%d-r0\no:other\n\n", i, i)
	}
	file("lib/apk/db/installed", []byte(installed))
	dir("srv/")
	file("srv/data", noise(2, 12_000))
	file("srv/.wh.gone", nil)
	check(archive.Close())
	return out.Bytes()
}

func main() {
	input := root()
	facts := map[string]map[string]any{}
	for name, options := range map[string][]estargz.Option{
		"small":        {estargz.WithChunkSize(512), estargz.WithPrioritizedFiles([]string{"etc/empty"})},
		"small-joined": {estargz.WithMinChunkSize(4096)},
	} {
		blob, err := estargz.Build(io.NewSectionReader(bytes.NewReader(input), 0, int64(len(input))), options...)
		check(err)
		data, err := io.ReadAll(blob)
		check(err)
		check(os.WriteFile(name+".tar.gz", data, 0o644))
		facts[name] = map[string]any{"tocDigest": blob.TOCDigest(), "diffId": blob.DiffID()}
		check(blob.Close())
	}
	text, err := json.MarshalIndent(facts, "", "  ")
	check(err)
	check(os.WriteFile("small.json", append(text, '\n'), 0o644))
}
