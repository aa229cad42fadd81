//@ signals
  reg  [ACCESS_WIDTH-1:0]  access = 0;
  reg                      access_valid = 1'b0;
  wire                     access_ready;
  wire [ROW_WIDTH-1:0]     weights;
  wire                     weights_valid;
  reg                      weights_ready = 1'b0;
//@ dut_ports
    .i_access__payload(access),
    .i_access__valid(access_valid),
    .i_access__ready(access_ready),
    .o_weights__payload(weights),
    .o_weights__valid(weights_valid),
    .o_weights__ready(weights_ready),
//@ moves
        || access_valid && access_ready || weights_valid && weights_ready
//@ tasks
  // -- host accesses; what these tasks drive changes at the falling edge --------------------------

  // Write the lanes of a row that are in the mask.
  task write_row(input integer row, input [LANES-1:0] mask, input [ROW_WIDTH-1:0] value);
    begin
      access = 0;
      access[ACCESS_ROW_LSB +: ACCESS_ROW_WIDTH] = row[ACCESS_ROW_WIDTH-1:0];
      access[ACCESS_WRITE_LSB] = 1'b1;
      access[ACCESS_MASK_LSB +: LANES] = mask;
      access[ACCESS_WEIGHTS_LSB +: ROW_WIDTH] = value;
      request_access;
    end
  endtask

  task request_access;
    begin
      access_valid = 1'b1;
      @(posedge clk);
      while (!access_ready) @(posedge clk);
      @(negedge clk);
      access_valid = 1'b0;
    end
  endtask

  // Read a row and compare its weights.
  task check_row(input integer row, input [ROW_WIDTH-1:0] wanted);
    begin
      access = 0;
      access[ACCESS_ROW_LSB +: ACCESS_ROW_WIDTH] = row[ACCESS_ROW_WIDTH-1:0];
      request_access;
      weights_ready = chance[20];
      while (!(weights_valid && weights_ready)) begin
        @(negedge clk);
        weights_ready = 1'b1;
      end
      compare_row(row, weights, wanted);
      @(negedge clk);
      weights_ready = 1'b0;
    end
  endtask

//@ before
    // In two halves, so that a mask that does nothing is noticed.
    waiting_for = "a row to be written";
    for (row = 0; row < ROWS; row = row + 1) begin
      write_row(row, ODD_LANES, initial_weights[row]);
      write_row(row, ~ODD_LANES, initial_weights[row] & EVEN_WORDS);
    end

//@ after

    waiting_for = "a row to be read";
    for (row = 0; row < ROWS; row = row + 1) check_row(row, final_weights[row]);
