package page

import "google.golang.org/protobuf/proto"

// MaxBytes is where a page ends, whatever its size in rows: gRPC clients refuse
// messages of more than 4 MiB.
const MaxBytes = 2 << 20

// Fill converts rows until the page has size of them or would be over MaxBytes;
// the first one always fits. more says that rows are left for the next page, so
// read one row more than the page is to have.
func Fill[R any, M proto.Message](rows []R, size int32, convert func(*R) (M, error)) (page []M, more bool, err error) {
	bytes := 0
	for i := range rows {
		if len(page) == int(size) {
			return page, true, nil
		}
		m, err := convert(&rows[i])
		if err != nil {
			return nil, false, err
		}
		if bytes += proto.Size(m); i > 0 && bytes > MaxBytes {
			return page, true, nil
		}
		page = append(page, m)
	}
	return page, false, nil
}
